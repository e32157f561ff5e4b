/** What a mirror holds and where a loop's branch begins: all decided here, from what git printed. */
import { isRefName } from './ref-name.ts'

/** Where the branches of the origin are kept, in a mirror and in every clone. */
export const ORIGIN = 'refs/remotes/origin/'
/** Where branches of loops are kept in a mirror. */
export const KEPT = 'refs/heads/'
/** Where a mirror keeps the origin's HEAD when that is on no branch. */
export const DETACHED = 'refs/loopat/head'

/** Object ids by full ref name, sorted by name. */
export type Refs = ReadonlyMap<string, string>

/** The origin's HEAD. */
export interface RemoteHead {
  /** Undefined when it points to nothing that exists. */
  readonly oid: string | undefined
  /** The branch it points to; undefined when the origin does not say, or it is on none. */
  readonly branch: string | undefined
}

const OID = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/

/** Reads `git for-each-ref --format="%(objectname) %(refname)"`. Names that are not UTF-8 are left out. */
export function parseRefs(output: string): Refs {
  const refs = new Map<string, string>()
  for (const line of output.split('\n')) {
    const oid = line.slice(0, line.indexOf(' '))
    const name = line.slice(oid.length + 1)
    if (OID.test(oid) && isFullRef(name)) refs.set(name, oid)
  }
  return refs
}

/** Reads `git ls-remote --symref URL HEAD`, which also prints refs that merely end in `/HEAD`. */
export function parseRemoteHead(output: string): RemoteHead {
  let oid: string | undefined
  let branch: string | undefined
  for (const line of output.split('\n')) {
    const [value = '', name] = line.split('\t')
    if (name !== 'HEAD') continue
    if (OID.test(value)) oid = value
    const target = /^ref: refs\/heads\/(.+)$/.exec(value)?.[1]
    if (target !== undefined && isFullRef(`refs/heads/${target}`)) branch = target
  }
  return { oid, branch }
}

/**
 * The ref that stands for the origin's default branch: what its HEAD names; where it names nothing, the branch that is
 * at the same commit; where there is no HEAD, the only branch, or one with a customary name.
 * @returns a ref of the mirror, or undefined when only a person can tell
 */
export function defaultRef(head: RemoteHead, refs: Refs): string | undefined {
  if (head.branch !== undefined && refs.has(ORIGIN + head.branch)) return ORIGIN + head.branch
  const branches = [...refs.keys()].filter((name) => name.startsWith(ORIGIN))
  const customary = ['main', 'master'].map((name) => ORIGIN + name).filter((name) => refs.has(name))
  if (head.oid !== undefined) {
    const same = [...customary, ...branches].find((name) => refs.get(name) === head.oid)
    return same ?? (refs.has(DETACHED) ? DETACHED : undefined)
  }
  return branches.length === 1 ? branches[0] : customary[0]
}

/** Where a branch begins. */
export type Start =
  /** In a repository without commits. */
  | { readonly kind: 'unborn' }
  /** At this commit. */
  | { readonly kind: 'commit'; readonly oid: string }
  /** At what git makes of this expression: a tag, or a part of a commit id. */
  | { readonly kind: 'expression'; readonly expression: string }
  | { readonly kind: 'unknown' }

/**
 * Finds the start of a branch.
 * @param ref what was asked for: a branch of the origin, a tag, a branch kept from a loop, or a commit id, in this order
 * @param head the mirror's default ref, when it has one
 */
export function findStart(ref: string | undefined, head: string | undefined, refs: Refs): Start {
  if (ref === undefined || ref === 'HEAD') {
    const oid = head === undefined ? undefined : refs.get(head)
    if (oid !== undefined) return { kind: 'expression', expression: oid }
    return ref === undefined && !hasBranches(refs) ? { kind: 'unborn' } : { kind: 'unknown' }
  }
  const short = ref.replace(/^refs\/(heads|tags)\//, '')
  const branch = ref.startsWith('refs/tags/') ? undefined : refs.get(ORIGIN + short)
  if (branch !== undefined) return { kind: 'commit', oid: branch }
  const tag = ref.startsWith('refs/heads/') ? undefined : refs.get(`refs/tags/${short}`)
  const kept = ref.startsWith('refs/tags/') ? undefined : refs.get(KEPT + short)
  const found = tag ?? kept ?? (/^[0-9a-f]{7,64}$/i.test(ref) ? ref.toLowerCase() : undefined)
  return found === undefined ? { kind: 'unknown' } : { kind: 'expression', expression: found }
}

/** Reports whether the origin has any branch. */
export function hasBranches(refs: Refs): boolean {
  return [...refs.keys()].some((name) => name.startsWith(ORIGIN))
}

/** The refs of a fresh clone, in the format of git's `packed-refs`. */
export function packedRefs(refs: Refs): string {
  const lines = [...refs]
    .filter(([name]) => name.startsWith(ORIGIN) || name.startsWith('refs/tags/'))
    .map(([name, oid]) => `${oid} ${name}\n`)
  return `# pack-refs with: sorted \n${lines.join('')}`
}

function isFullRef(name: string): boolean {
  return name.startsWith('refs/') && !name.includes('\uFFFD') && isRefName(name)
}
