import { LoopatError } from '@loopatd/protocol'

/** Longest name of a loop, in characters. */
const MAX_NAME = 32
/** Shortest prefix of an id that names a loop, in characters. */
const MIN_PREFIX = 4
/** Most candidates that an error lists. */
const MAX_CANDIDATES = 10

/** What a reference is matched against; a broken loop has no name. */
export interface NamedLoop {
  readonly id: string
  readonly name?: string
}

/** Makes a name from free text: rule L-7, except that it never ends in `-`. */
export function slugOf(title: string): string {
  const slug = title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-/, '')
  return cut(slug, MAX_NAME) || 'loop'
}

/** The wanted name, or with `-2`, `-3`… when it is taken; never longer than a name may be. */
export function uniqueName(wanted: string, taken: ReadonlySet<string>): string {
  let name = wanted
  for (let number = 2; taken.has(name); number += 1) {
    const suffix = `-${number}`
    name = `${cut(wanted, MAX_NAME - suffix.length)}${suffix}`
  }
  return name
}

/** The branch of a loop in its clone (rule L-6). */
export function branchOf(title: string, id: string): string {
  return `loop/${slugOf(title)}-${id.slice(0, 6)}`
}

/**
 * Finds the loop that a reference names: exact id, exact name, or a prefix of the id of at least 4 characters (L-3b).
 * @throws `loop_not_found`, `ambiguous_loop`
 */
export function resolveRef<T extends NamedLoop>(ref: string, loops: readonly T[]): T {
  const byId = loops.find(({ id }) => id === ref)
  if (byId !== undefined) return byId
  const byName = loops.filter(({ name }) => name === ref)
  const found = byName.length > 0 ? byName : byPrefix(ref, loops)
  const [first, ...others] = found
  if (first === undefined) {
    throw new LoopatError('loop_not_found', `no loop has the id, name or id prefix "${ref}"`, {
      next: 'Run: loopctl ls --all',
      details: { loop: ref },
    })
  }
  if (others.length > 0) throw ambiguous(ref, found)
  return first
}

function byPrefix<T extends NamedLoop>(ref: string, loops: readonly T[]): T[] {
  return ref.length < MIN_PREFIX ? [] : loops.filter(({ id }) => id.startsWith(ref))
}

function ambiguous(ref: string, found: readonly NamedLoop[]): LoopatError {
  const shown = found.slice(0, MAX_CANDIDATES)
  const list = shown.map(({ id, name }) => (name === undefined ? id : `${id} (${name})`)).join(', ')
  const rest = found.length > shown.length ? ` and ${found.length - shown.length} more` : ''
  return new LoopatError('ambiguous_loop', `"${ref}" names ${found.length} loops: ${list}${rest}`, {
    next: 'Give more characters of the id, or the name.',
    details: { loop: ref, candidates: shown.map(({ id, name }) => ({ id, name: name ?? null })) },
  })
}

function cut(name: string, length: number): string {
  return name.slice(0, length).replace(/-+$/, '')
}
