import { lstat, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../lib/error-code.ts'
import type { LoopContext } from './loop-context.ts'
import { type Meta, vaultOf } from './loop-meta.ts'
import { CONTEXT_ROWS, type MountFacts, type MountSource, type SkippedMount, type WantedMount } from './loop-mount.ts'
import type { MountGuard } from './mount-guard.ts'
import { parseSource, parseTarget, whyUnmountable } from './mount-path.ts'

/** A mount as somebody asks for it: neither path is checked. */
export interface AskedMount {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
}

/** Mounts of the host's files, as the loops need them. */
export interface LoopMounts {
  /** Those of the configuration. */
  readonly operator: readonly AskedMount[]
  /** What `~` means on the host. */
  readonly userHome: string
  readonly guard: Pick<MountGuard, 'check'>
}

/**
 * Gathers what the mounts of a loop depend on. Looks at files alone, never at the engine: this is done for every
 * command in a running loop.
 * @throws `vault_not_found`, `vault_invalid`
 */
export async function mountFacts(context: LoopContext, meta: Meta, signal: AbortSignal): Promise<MountFacts> {
  const { store, repos, paths, vaults, mounts } = context
  const { id, repo, user, knowledgeRw = false, mountAllLoops = false } = meta
  const places = store.paths(id)
  const resolve = (asked: readonly AskedMount[]) => Promise.all(asked.map((mount) => resolveMount(mount, mounts)))
  const [present, others, operator, loop, vault] = await Promise.all([
    presentOf(places.directory),
    mountAllLoops ? otherLoops(context, id) : [],
    resolve(mounts.operator),
    resolve(meta.mounts ?? []),
    vaults.homeMounts(user, vaultOf(meta), signal),
  ])
  return {
    id,
    paths: places,
    control: join(paths.control, id),
    mirrors: repo === undefined ? [] : [{ name: repo.mirror, path: repos.mirrorPath(repo.mirror) }],
    present,
    knowledgeRw,
    others,
    operator,
    loop,
    vault,
  }
}

/** Mounts of the configuration that are left out of every loop, and why. */
export async function operatorFaults(mounts: LoopMounts): Promise<SkippedMount[]> {
  const facts = await Promise.all(mounts.operator.map((mount) => resolveMount(mount, mounts)))
  return facts.flatMap(({ source, target, found }) =>
    found.kind === 'refused' ? [{ source, target, origin: 'operator', why: found.why }] : [],
  )
}

/** Looks at a mount that was asked for: whether it may be, and where its source really is (rule V-9). */
export async function resolveMount(
  { source, target, readOnly }: AskedMount,
  { userHome, guard }: Pick<LoopMounts, 'userHome' | 'guard'>,
): Promise<WantedMount> {
  const from = parseSource(source, userHome)
  const to = parseTarget(target)
  const refuse = (why: string): WantedMount => ({ source, target, readOnly, found: { kind: 'refused', why } })
  if ('why' in from) return refuse(`${source}: ${from.why}`)
  if ('why' in to) return refuse(`${target}: ${to.why}`)
  return { source: from.path, target: to.path, readOnly, found: await findSource(from.path, guard) }
}

async function findSource(path: string, guard: Pick<MountGuard, 'check'>): Promise<MountSource> {
  try {
    const real = await realpath(path)
    const stats = await lstat(real)
    const why = whyUnmountable(real) ?? (await guard.check(real))
    if (why !== undefined) return { kind: 'refused', why: `${path}: ${why}` }
    return { kind: stats.isDirectory() ? 'directory' : 'file', path: real }
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    return {
      kind: 'refused',
      why: code === 'ENOENT' ? `${path} does not exist` : `${path} cannot be reached (${code})`,
    }
  }
}

/** Names of {@link CONTEXT_ROWS} that are real directories. */
async function presentOf(directory: string): Promise<Set<string>> {
  const found = await Promise.all(CONTEXT_ROWS.map(({ name }) => isDirectory(join(directory, name))))
  return new Set(CONTEXT_ROWS.map(({ name }) => name).filter((_name, index) => found[index] === true))
}

async function otherLoops({ store }: LoopContext, id: string): Promise<{ id: string; workdir: string }[]> {
  const loops = (await store.list()).filter((loop) => loop.kind === 'readable' && loop.id !== id)
  const places = loops.map((loop) => ({ id: loop.id, workdir: store.paths(loop.id).workdir }))
  const found = await Promise.all(places.map(({ workdir }) => isDirectory(workdir)))
  return places.filter((_place, index) => found[index] === true)
}

/** Reports whether a path is a directory, and not a link to one. */
export async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory()
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return false
  }
}
