import { setTimeout as sleep } from 'node:timers/promises'

/** Time, injected so that tests own it. */
export interface Clock {
  /** Wall-clock time. */
  now(): Date
  /**
   * Milliseconds of a clock that never jumps, and stands still while the machine is suspended. Processes of one run of the
   * machine see the same.
   */
  monotonicMs(): number
  /** Resolves after `ms` milliseconds. Does not keep the process alive. @throws the reason of the signal */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => Number(process.hrtime.bigint() / 1000n) / 1000,
  sleep: async (ms, signal) => {
    try {
      await sleep(ms, undefined, { ref: false, ...(signal === undefined ? {} : { signal }) })
    } catch (error) {
      signal?.throwIfAborted()
      throw error
    }
  },
}
