import type { ExecSignal } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'

/** Milliseconds between TERM and KILL (rule K-15). */
const KILL_GRACE_MS = 2_000
/** Milliseconds between two looks at a job that is to end. */
const LOOK_MS = 100

/** A job that is to end. */
export interface Mortal {
  /** Sends a signal to all of its processes. @returns whether there was any */
  send(signal: ExecSignal): Promise<boolean>
  /** Whether its command has ended, or it was lost. */
  isOver(): Promise<boolean>
  /** Whether any of them is left. */
  hasRest(): Promise<boolean>
}

/**
 * Ends a job: TERM, then KILL to what is left after a while. Resolves when it is over.
 * @throws the reason of the signal
 */
export async function endJob(job: Mortal, clock: Clock, signal?: AbortSignal): Promise<void> {
  await job.send('SIGTERM')
  const deadline = clock.monotonicMs() + KILL_GRACE_MS
  while (!((await job.isOver()) && !(await job.hasRest()))) {
    if (clock.monotonicMs() >= deadline) {
      await job.send('SIGKILL')
      break
    }
    await clock.sleep(LOOK_MS, signal)
  }
  while (!(await job.isOver())) await clock.sleep(LOOK_MS, signal)
}
