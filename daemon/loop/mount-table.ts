import { posix } from 'node:path'
import { isWithin } from './mount-path.ts'

/** A mount of this host, as the kernel tells it. */
export interface HostMount {
  /** `major:minor` of its file system. */
  readonly device: string
  /** Which part of that file system is mounted. */
  readonly root: string
  readonly target: string
}

/** A place in a file system, whatever path leads there. */
export interface Spot {
  readonly device: string
  readonly path: string
}

/** How one place lies to another. */
export type Relation = 'is' | 'holds' | 'within'

/** Reads `/proc/self/mountinfo`. Pure; lines that say nothing of use are passed over. */
export function parseMountInfo(text: string): HostMount[] {
  return text.split('\n').flatMap((line) => {
    const [, , device, root, target] = line.split(' ')
    if (device === undefined || root === undefined || target === undefined) return []
    return [{ device, root: decodeOctal(root), target: decodeOctal(target) }]
  })
}

/** Where a real path is: in which file system, and where in it. Undefined when no mount holds it. Pure. */
export function spotOf(path: string, mounts: readonly HostMount[]): Spot | undefined {
  // The last of those with the longest target: what is mounted later covers what was there.
  const mount = mounts
    .filter(({ target }) => isWithin(path, target))
    .reduce<HostMount | undefined>(
      (best, next) => (best === undefined || next.target.length >= best.target.length ? next : best),
      undefined,
    )
  if (mount === undefined) return undefined
  return { device: mount.device, path: posix.join(mount.root, path.slice(mount.target.length)) }
}

/** All that a mount of a real path would show: the place itself, and what is mounted below it. Pure. */
export function spotsShownBy(path: string, mounts: readonly HostMount[]): Spot[] {
  const own = spotOf(path, mounts)
  const below = mounts.filter(({ target }) => target !== path && isWithin(target, path))
  return [...(own === undefined ? [] : [own]), ...below.map(({ device, root }) => ({ device, path: root }))]
}

/** How a path lies to a place. Pure. */
export function relationOf(path: string, place: string): Relation | undefined {
  if (path === place) return 'is'
  if (isWithin(place, path)) return 'holds'
  return isWithin(path, place) ? 'within' : undefined
}

/** Spaces and the like are octal there. */
function decodeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
