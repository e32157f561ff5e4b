import { posix } from 'node:path'
import { HOME } from './inside.ts'

/** A path, or why a text is none. */
export type ParsedPath = { readonly path: string } | { readonly why: string }

/** Targets that belong to the kernel or to the daemon; nothing may be put there, nor below. */
const RESERVED = ['/dev', '/loopat', '/proc', '/sys']
/** Targets that hold what every container needs; below them is free. */
const HOLDERS = ['/', posix.dirname(HOME)]

/**
 * Reads the source of a mount (rule V-9). Pure.
 * @param hostHome what `~` and `$HOME` mean
 */
export function parseSource(text: string, hostHome: string): ParsedPath {
  return parse(text, hostHome)
}

/** Reads the target of a mount: a path that may be covered, `~` being the home inside (rule V-9). Pure. */
export function parseTarget(text: string): ParsedPath {
  const parsed = parse(text, HOME)
  if ('why' in parsed) return parsed
  const { path } = parsed
  if (HOLDERS.includes(path)) return { why: `${path} holds what the loop itself is made of` }
  const reserved = RESERVED.find((place) => isWithin(path, place))
  return reserved === undefined ? parsed : { why: `${reserved} is not for mounts` }
}

/** Says why podman cannot mount a path; undefined when it can. It has no way to escape any of these. */
export function whyUnmountable(path: string): string | undefined {
  return /[:,\p{Cc}]/u.test(path) ? 'podman can mount no path with a colon, a comma or a control character' : undefined
}

/** Reports whether a path is another one or lies in it. Both absolute and normal. */
export function isWithin(path: string, place: string): boolean {
  return path === place || path.startsWith(place === '/' ? '/' : `${place}/`)
}

function parse(text: string, home: string): ParsedPath {
  const why = whyUnmountable(text)
  if (why !== undefined) return { why }
  // Before it is made normal: what leads up and down again may mean another place than it says.
  if (text.split('/').includes('..')) return { why: 'it has a ".." in it' }
  const path = text.replace(/^(~|\$HOME)(?=\/|$)/, () => home)
  if (!path.startsWith('/')) return { why: 'it is neither absolute nor begins with ~/ or $HOME/' }
  const normal = posix.normalize(path)
  return { path: normal.length > 1 ? normal.replace(/\/$/, '') : normal }
}
