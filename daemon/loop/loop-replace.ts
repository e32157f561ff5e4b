import { isLoopatError } from '@loopatd/protocol'
import { type ContainerDetails, isEngineError } from '../engine/engine.ts'
import { withShape } from './loop-change.ts'
import { END_GRACE_MS, REPLACE_GRACE_SECONDS, stopOrGiveUp } from './loop-container.ts'
import type { LoopContext } from './loop-context.ts'
import { dropPendingLayer, removeLayers, settleLayer } from './loop-layer.ts'
import type { Meta } from './loop-meta.ts'
import { isOurs } from './loop-plan.ts'
import { containerName } from './loop-spec.ts'

/** Ends the name of a container that was set aside; no id ends so. */
const ASIDE = '-old'
/** Longest time that ending or taking back may take, in milliseconds; both go on when whoever asked has gone. */
const SETTLE_MS = 60_000

/** Reports whether a container of ours is one that was set aside. */
export function isAside(name: string): boolean {
  return name.endsWith(ASIDE)
}

/** Name of a container that makes way, as long as the new one is not proven. */
function asideName(workspace: string, id: string): string {
  return `${containerName(workspace, id)}${ASIDE}`
}

/**
 * Sets the container of a loop aside while another one is made; removes it when that one runs, and brings it back, as
 * it was, when it does not. One that hangs is removed at once: only force ends it.
 * @param make brings the new container up; is told whether the old one could be stopped and is still there
 * @throws what `make` throws, EngineError
 */
export async function replaceContainer(
  context: LoopContext,
  { id, old }: { id: string; old: ContainerDetails },
  make: (isKept: boolean) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  // Still there from the recreation before, whose end could not be carried out.
  const before = await containerAside(context, id, signal)
  if (before !== undefined && (await hasWon(context, id, { aside: before, current: old }))) {
    await context.engine.container.remove(before.id, signal)
  }
  try {
    const isKept = await stop(context, id, old, signal)
    if (isKept) await context.engine.container.rename(old.id, asideName(context.workspace, id), signal)
    else await context.engine.container.remove(old.id, signal)
    await make(isKept)
  } catch (error) {
    context.log.warn({ loop: id, err: error }, 'a new container does not run; the old one comes back')
    await takeBackOrLog(context, id, old.status === 'running')
    throw error
  }
  await finishOrLog(context, id)
}

/** The container of a loop that was set aside; undefined when there is none. @throws EngineError */
async function containerAside(
  { engine, workspace }: LoopContext,
  id: string,
  signal: AbortSignal,
): Promise<ContainerDetails | undefined> {
  const found = await engine.container.inspect(asideName(workspace, id), signal)
  return found !== undefined && isOurs(found, workspace, id) ? found : undefined
}

/**
 * Ends a replacement that was interrupted: when the new container runs it stays, else the old one comes back, and with
 * it what was asked for before.
 * @returns whether anything had to be done
 * @throws EngineError
 */
export async function settleReplacement(context: LoopContext, id: string, signal: AbortSignal): Promise<boolean> {
  const aside = await containerAside(context, id, signal)
  const current = await context.cache.inspect(id, signal)
  if (aside !== undefined && (await hasWon(context, id, { aside, current }))) await finish(context, id, signal)
  else if (aside !== undefined) await takeBack(context, id, signal)
  else if (await hasUpdate(context, id, true)) await takeBackWishes(context, id)
  else return false
  context.log.info({ loop: id }, 'settled a recreation that was interrupted')
  return true
}

/**
 * Reports whether the container of a loop is proven against one that was set aside for it: it runs, or it is noted that it
 * did after the other had been stopped.
 */
async function hasWon(
  { store }: LoopContext,
  id: string,
  { aside, current }: { aside: ContainerDetails; current: ContainerDetails | undefined },
): Promise<boolean> {
  if (current === undefined || current.status === 'running') return current !== undefined
  const stored = await store.read(id)
  const { recreated } = stored?.kind === 'readable' ? stored.meta : {}
  if (recreated === undefined || aside.finishedAt === undefined) return false
  return Date.parse(recreated.at) > Date.parse(aside.finishedAt)
}

/** Removes the container that was set aside. @throws EngineError */
export async function removeAside(context: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  const aside = await containerAside(context, id, signal)
  if (aside !== undefined) await context.engine.container.remove(aside.id, signal)
}

/** Removes what belongs to a loop besides its container: one that was set aside, and layers. @throws EngineError */
export async function removeReplaced(context: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  await removeAside(context, id, signal)
  await removeLayers(context, id, signal)
}

/** The metadata once a container is proven to be what it asks for. Pure. */
export function proven({ update: _update, ...meta }: Meta): Meta {
  return meta
}

/** The change is noted as proven before the old container goes: as long as that is there, it can be told who won. */
async function finish(context: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  if (await hasUpdate(context, id)) await context.store.update(id, proven)
  await removeAside(context, id, signal)
  await settleLayer(context, id, signal)
}

/** The new container runs: what is left to do is not worth a failure, and is done again by {@link settleReplacement}. */
async function finishOrLog(context: LoopContext, id: string): Promise<void> {
  const signal = AbortSignal.timeout(SETTLE_MS)
  try {
    await finish(context, id, signal)
  } catch (error) {
    if (!isPassing(error, signal)) throw error
    context.log.warn({ loop: id, err: error }, 'what a recreation leaves behind cannot be removed now')
  }
}

/** Reports whether an error is of the engine, the disk or the time, and no defect. */
function isPassing(error: unknown, signal: AbortSignal): boolean {
  return isEngineError(error) || isLoopatError(error, 'storage_failed') || error === signal.reason
}

async function takeBackOrLog(context: LoopContext, id: string, wasRunning: boolean): Promise<void> {
  const signal = AbortSignal.timeout(SETTLE_MS)
  try {
    await takeBack(context, id, signal)
    if (wasRunning) await context.engine.container.start(containerName(context.workspace, id), signal)
  } catch (error) {
    if (!isPassing(error, signal)) throw error
    context.log.error({ loop: id, err: error }, 'the old container cannot come back now; the next start tries again')
  }
}

/** @returns whether it is stopped; only force ends one that hangs */
async function stop(context: LoopContext, id: string, old: ContainerDetails, signal: AbortSignal): Promise<boolean> {
  if (old.status === 'created' || old.status === 'exited') return true
  if (old.status === 'other') return false
  await context.leases.endAll(id, END_GRACE_MS, signal)
  return await stopOrGiveUp(context, old, REPLACE_GRACE_SECONDS, signal)
}

/** Gives the container that was set aside its name back. One that kept it is left as it is. */
async function takeBack(context: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  const { engine, workspace, cache } = context
  const aside = await containerAside(context, id, signal)
  if (aside !== undefined) {
    const current = await cache.inspect(id, signal)
    if (current !== undefined) await engine.container.remove(current.id, signal)
    await engine.container.rename(aside.id, containerName(workspace, id), signal)
    await dropPendingLayer(context, id, signal)
  }
  await takeBackWishes(context, id)
}

/** A change that no container could prove is taken back with it. */
async function takeBackWishes(context: LoopContext, id: string): Promise<void> {
  if (!(await hasUpdate(context, id))) return
  await context.store.update(id, (meta) => proven(withShape(meta, meta.update?.previous ?? {})))
}

/** Reports whether a change is not proven; when `underWay` is given, whether a running container was making way for it. */
async function hasUpdate({ store }: LoopContext, id: string, underWay = false): Promise<boolean> {
  const stored = await store.read(id)
  if (stored?.kind !== 'readable' || stored.meta.update === undefined) return false
  return !underWay || stored.meta.update.underWay === true
}
