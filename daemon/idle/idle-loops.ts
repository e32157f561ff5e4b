import type { LoopCause, LoopInfo } from '@loopatd/protocol'
import type { SleepOutcome } from './idle-scheduler.ts'

/** Loops, as their sleep needs them. */
export interface IdleLoops {
  /** The loop that a reference names. @throws `loop_not_found`, `ambiguous_loop` */
  look(ref: string, signal: AbortSignal): Promise<LoopInfo>
  /** All loops. */
  list(params: { readonly archived: 'include' }, signal: AbortSignal): Promise<{ readonly loops: readonly LoopInfo[] }>
  /**
   * Stops a loop under its lock, if it still may be stopped then; it is never removed.
   * @throws `engine_failed`, `engine_unavailable`, `connection_lost`
   */
  sleep(
    id: string,
    request: {
      readonly isStillIdle: () => boolean
      readonly cause: () => LoopCause
      /** Whether it is left alone when something is done to it now. */
      readonly unlessBusy?: boolean
    },
    signal: AbortSignal,
  ): Promise<SleepOutcome>
}

/** A connection that may hold leases. */
export interface LeaseClient {
  /** Names the connection. */
  readonly id: string
  /**
   * Calls the listener once, when the connection is over.
   * @throws `cancelled` when it is over already
   */
  onEnd(listener: () => void): void
}
