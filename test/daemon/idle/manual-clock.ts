import type { Clock } from '../../../daemon/lib/clock.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'

interface Sleeper {
  readonly until: number
  readonly wake: () => void
}

/** A clock that stands still until the test moves it. */
export class ManualClock implements Clock {
  #now: number
  #monotonic = 0
  readonly #sleepers = new Set<Sleeper>()

  constructor(now = Date.parse('2030-01-02T03:04:05.000Z')) {
    this.#now = now
  }

  /** How many sleep now. */
  get sleeping(): number {
    return this.#sleepers.size
  }

  now(): Date {
    return new Date(this.#now)
  }

  monotonicMs(): number {
    return this.#monotonic
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const { promise, resolve, reject } = deferred<void>()
    const sleeper = { until: this.#monotonic + ms, wake: () => resolve(undefined) }
    const onAbort = () => reject(signal?.reason)
    this.#sleepers.add(sleeper)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await promise
    } finally {
      this.#sleepers.delete(sleeper)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Sets the wall clock forward or back; time awake stands still, as it does while a machine is suspended. */
  jump(ms: number): void {
    this.#now += ms
  }

  /** Lets time pass. */
  advance(ms: number): void {
    this.#now += ms
    this.#monotonic += ms
    for (const sleeper of [...this.#sleepers]) if (sleeper.until <= this.#monotonic) sleeper.wake()
  }
}
