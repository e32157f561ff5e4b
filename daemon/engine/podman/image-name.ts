import { EngineError } from '../engine.ts'

/** Names as podman writes them, or ids; nothing that means something else in a path. */
const NAME = /^[a-z0-9][a-z0-9._:/@-]*$/i

/** The two parts of a name with tag. */
export interface SplitName {
  readonly repo: string
  readonly tag: string
}

/**
 * Encodes an image's name or id for a path.
 * @throws EngineError `failed` when it is no name
 */
export function imagePath(name: string): string {
  if (!NAME.test(name) || name.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw new EngineError('failed', `${JSON.stringify(name)} is no name of an image`)
  }
  return `/${name.split('/').map(encodeURIComponent).join('/')}`
}

/**
 * Splits `repository:tag`.
 * @throws EngineError `failed` when there is no tag: podman would take `latest`
 */
export function splitName(name: string): SplitName {
  imagePath(name)
  const colon = name.lastIndexOf(':')
  if (colon <= name.lastIndexOf('/')) throw new EngineError('failed', `the image name ${name} has no tag`)
  return { repo: name.slice(0, colon), tag: name.slice(colon + 1) }
}
