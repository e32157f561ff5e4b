import { join } from 'node:path'
import type { LoopCause } from '@loopatd/protocol'
import { type ContainerDetails, EngineError } from '../engine/engine.ts'
import { END_GRACE_MS, stopOrGiveUp } from './loop-container.ts'
import { type LoopContext, type ReadableLoop, republish } from './loop-context.ts'
import { callEngine } from './loop-failure.ts'

/** Seconds between TERM and KILL when nobody says otherwise (appendix A). */
export const STOP_GRACE_SECONDS = 5

/** One stop. */
export interface StopRequest {
  /** Seconds between TERM and KILL; default: {@link STOP_GRACE_SECONDS}. */
  readonly graceSeconds?: number
  readonly cause: LoopCause
  /** Whether a container that hangs may be removed, which nobody asked for when it only sleeps; default: true. */
  readonly mayRemove?: boolean
}

/**
 * Stops a loop that the caller has the turn of: asks its users to let go, then stops the container. A container that
 * hangs is removed, unless that is not wanted; home and workdir do not depend on it. A stopped loop is a success.
 * @throws `engine_failed`, `engine_unavailable`, `connection_lost`
 */
export async function stopInTurn(
  context: LoopContext,
  stored: ReadableLoop,
  { graceSeconds = STOP_GRACE_SECONDS, cause, mayRemove = true }: StopRequest,
  signal: AbortSignal,
): Promise<void> {
  const { id, meta } = stored
  const call = { doing: `stop loop "${meta.name}"`, refusal: 'engine_failed' } as const
  const container = await callEngine(call, () => context.cache.current(id, signal))
  if (container === undefined || isDown(container)) return
  const end =
    meta.archivedAt === undefined ? context.board.begin(stored, { activity: 'stopping', cause }) : () => undefined
  try {
    await context.leases.endAll(id, END_GRACE_MS, signal)
    await callEngine(call, () => stopContainer(context, container, { graceSeconds, mayRemove }, signal))
    context.agents?.forget(join(context.paths.control, id))
    await callEngine(call, () => context.cache.inspect(id, signal))
  } catch (error) {
    context.cache.touch(id)
    throw error
  } finally {
    end()
    await republish(context, id)
  }
}

async function stopContainer(
  context: LoopContext,
  container: ContainerDetails,
  { graceSeconds, mayRemove }: { graceSeconds: number; mayRemove: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (await stopOrGiveUp(context, container, graceSeconds, signal)) return
  if (!mayRemove) throw new EngineError('failed', `container ${container.name} does not stop`)
  context.log.warn({ container: container.name }, 'a container that does not stop is removed')
  await context.engine.container.remove(container.id, signal)
}

function isDown({ status }: ContainerDetails): boolean {
  return status === 'created' || status === 'exited'
}
