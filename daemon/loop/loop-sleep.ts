import type { LoopCause } from '@loopatd/protocol'
import type { LoopContext } from './loop-context.ts'
import { callEngine } from './loop-failure.ts'
import { stopInTurn } from './loop-stop.ts'

/** A loop that is to sleep. */
export interface SleepRequest {
  /** Reports whether it still is to sleep: asked under the loop's lock, right before it is stopped. */
  readonly isStillIdle: () => boolean
  /** Why it sleeps, asked at the same moment. */
  readonly cause: () => LoopCause
  /** Whether it is left alone when something is done to it now; default: it is waited for. */
  readonly unlessBusy?: boolean
}

/**
 * Puts a loop to sleep (rule A-5): stops its container and never removes it. What came into use while this waited for its
 * turn, is gone or cannot be read is left alone. A loop that is archived, and runs because a look into it was
 * interrupted, is stopped as well.
 * @throws `engine_failed`, `engine_unavailable`, `connection_lost`
 */
export async function sleepLoop(
  context: LoopContext,
  id: string,
  { isStillIdle, cause, unlessBusy = false }: SleepRequest,
  signal: AbortSignal,
): Promise<'stopped' | 'kept'> {
  const sleep = async () => {
    const stored = await context.store.read(id)
    if (stored === undefined || stored.kind === 'broken') return 'kept'
    const call = { doing: `put loop "${stored.meta.name}" to sleep`, refusal: 'engine_failed' } as const
    const container = await callEngine(call, () => context.cache.current(id, signal))
    if (container?.status !== 'running' || !isStillIdle()) return 'kept'
    const why = cause()
    await stopInTurn(context, stored, { cause: why, mayRemove: false }, signal)
    context.log.info({ loop: id, name: stored.meta.name, why: why.text }, 'put a loop to sleep')
    return 'stopped'
  }
  // No time passes between the look and the turn.
  if (unlessBusy && context.turns.isBusy(id)) return 'kept'
  return await context.turns.run(id, sleep, signal)
}
