import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type CheckedParamsOf, isLoopatError, LoopatError, type LoopCause, type ResultOf } from '@loopatd/protocol'
import type { UnpromotedWork } from '../git/repo-access.ts'
import type { OnProgress } from '../lib/progress.ts'
import { workdirInside } from './inside.ts'
import { END_GRACE_MS, removeNetworks } from './loop-container.ts'
import { findLoop, type LoopContext, type ReadableLoop, readLoop } from './loop-context.ts'
import { callEngine } from './loop-failure.ts'
import type { Meta } from './loop-meta.ts'
import { isLoopId } from './loop-path.ts'
import { removeReplaced } from './loop-replace.ts'
import { runnerOf } from './loop-run.ts'
import { containerName } from './loop-spec.ts'
import { startInTurn } from './loop-start.ts'
import { stopInTurn } from './loop-stop.ts'
import { isUntouched } from './loop-untouched.ts'
import { envOf } from './loop-use.ts'

type Params = CheckedParamsOf<'loop/remove'>
type Result = ResultOf<'loop/remove'>

/** Most commits and files that the message names; the details have them all. */
const SHOWN = 5

/** What a loop is started and stopped for here. */
const REMOVE: LoopCause = { by: 'request', text: 'remove' }

/** One removal. */
interface Removal {
  readonly params: Params
  readonly onProgress: OnProgress
  readonly signal: AbortSignal
}

/**
 * Removes a loop with everything in it (rule L-29): refused while work in it is nowhere else, unless forced. The
 * directory goes last, so that a removal that was interrupted can be repeated.
 */
export async function removeLoop(context: LoopContext, removal: Removal): Promise<Result> {
  const found = await findOrGone(context, removal.params.loop)
  if (found === undefined) return { id: removal.params.loop, removed: false }
  const { id } = found
  const remove = async () => {
    // Somebody else may have removed it while this one waited for its turn.
    if ((await context.store.read(id)) === undefined) return { id, removed: false }
    const stored = await readLoop(context, id)
    if (stored.meta.repo !== undefined) await secureWork(context, stored, stored.meta.repo.mirror, removal)
    await removeEverything(context, stored, removal)
    return { id, removed: true }
  }
  return await context.turns.run(id, remove, removal.signal)
}

/** A full id that no loop has any more is no error: the loop may have been removed before. */
async function findOrGone(context: LoopContext, ref: string): Promise<{ id: string } | undefined> {
  try {
    return await findLoop(context, ref)
  } catch (error) {
    if (isLoopatError(error, 'loop_not_found') && isLoopId(ref)) return undefined
    throw error
  }
}

/**
 * Copies branches when that is wanted, and refuses when the clone holds work that is nowhere else.
 * @throws `unpromoted_work`
 */
async function secureWork(context: LoopContext, stored: ReadableLoop, mirror: string, removal: Removal): Promise<void> {
  const { params, onProgress, signal } = removal
  if (params.force && !params.keepBranch) return
  if (await isFresh(context, stored, signal)) return
  onProgress({ message: 'Looking for work that is nowhere else' })
  const stopAgain = await startForLook(context, stored, removal)
  try {
    const run = runnerOf(context.engine.container, {
      container: containerName(context.workspace, stored.id),
      workdir: workdirInside(stored.id),
      env: envOf(stored.meta),
    })
    if (params.keepBranch) await context.repos.keepBranches(run, mirror, signal)
    if (params.force) return
    const work = await context.repos.unpromoted(run, signal)
    if (work.commits.length + work.files.length > 0) throw unpromoted(stored.meta, work)
  } catch (error) {
    await stopAgain()
    throw error
  }
}

/** A clone that was never in a container, and that nobody changed since, is as it was fetched. */
async function isFresh(
  { store, cache }: LoopContext,
  { id, meta }: ReadableLoop,
  signal: AbortSignal,
): Promise<boolean> {
  if (meta.firstStartedAt !== undefined || cache.peek(id) !== undefined) return false
  return await isUntouched(store.paths(id).workdir, Date.parse(meta.createdAt), signal)
}

/**
 * Starts the loop so that git can look from inside.
 * @returns stops it again, if it was not running before
 */
async function startForLook(
  context: LoopContext,
  { id, meta }: ReadableLoop,
  { onProgress, signal }: Removal,
): Promise<() => Promise<void>> {
  try {
    const { action } = await startInTurn(context, { id, mode: 'look', cause: REMOVE, onProgress, signal })
    if (action === 'none') return async () => undefined
  } catch (error) {
    if (!isLoopatError(error) || error.code === 'engine_unavailable') throw error
    throw new LoopatError('engine_failed', `cannot look for unpromoted work in loop "${meta.name}": ${error.message}`, {
      next: `Mend that, or remove it with everything in it: loopctl rm --force ${meta.name}`,
      details: { loop: id },
      cause: error,
    })
  }
  return async () => {
    try {
      // Also when the caller has gone: the loop is left as it was found.
      const stored = await readLoop(context, id)
      await stopInTurn(context, stored, { cause: REMOVE }, new AbortController().signal)
    } catch (error) {
      if (!isLoopatError(error)) throw error
      context.log.warn({ loop: id, err: error }, 'a loop that was started for a look cannot be stopped')
    }
  }
}

function unpromoted({ id, name }: Meta, { commits, files }: UnpromotedWork): LoopatError {
  const named = [...commits, ...files].slice(0, SHOWN).join(', ')
  return new LoopatError(
    'unpromoted_work',
    `loop "${name}" holds work that is nowhere else: ${commits.length} commits, ${files.length} files (${named})`,
    {
      next: `Push it from inside, keep its commits with: loopctl rm --keep-branch ${name}, or lose it with: loopctl rm --force ${name}`,
      details: { loop: id, commits, files },
    },
  )
}

async function removeEverything(context: LoopContext, { id, meta }: ReadableLoop, removal: Removal): Promise<void> {
  const { cache, engine, leases, log, board, store, paths } = context
  const { signal, onProgress } = removal
  const last = board.show({ kind: 'readable', id, meta })
  onProgress({ message: 'Removing the container' })
  await leases.endAll(id, END_GRACE_MS, signal)
  const call = { doing: `remove loop "${meta.name}"`, refusal: 'engine_failed' } as const
  await callEngine(call, async () => {
    // By its labels: a foreign container of that name is none of our business.
    const container = await cache.inspect(id, signal)
    if (container !== undefined) await engine.container.remove(container.id, signal)
    await removeReplaced(context, id, signal)
    await removeNetworks(context, id, signal)
  })
  onProgress({ message: 'Removing the files' })
  context.agents?.forget(join(paths.control, id))
  await rm(join(paths.control, id), { recursive: true, force: true })
  await store.delete(id)
  cache.forget(id)
  context.looks.forget(id)
  board.retire(last)
  log.info({ loop: id, name: meta.name }, 'removed a loop')
}
