import type { Clock } from '../lib/clock.ts'

/** Callers that may wait for a place; more are refused. */
const MAX_WAITING = 64

/** Bounds of what one loop does at the host. */
export interface SessionLimits {
  /** Commands at the same time. */
  readonly maxSessions: number
  /** New callers per minute. */
  readonly maxPerMinute: number
}

/** A place that a command runs in. */
export interface SessionPlace extends Disposable {
  release(): void
}

/** How much one loop asks of the host: how many commands run at a time, who waits, and how fast new ones come. */
export class SessionSlots {
  readonly #limits: SessionLimits
  readonly #clock: Clock
  readonly #waiting: (() => void)[] = []
  #running = 0
  /** Callers that may come at once; refills with time. */
  #credit: number
  #lookedAt: number

  constructor(limits: SessionLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#credit = limits.maxPerMinute
    this.#lookedAt = clock.monotonicMs()
  }

  /** Counts a caller. @returns whether it may come in; if not, it came too soon after others */
  admit(): boolean {
    const { maxPerMinute } = this.#limits
    const now = this.#clock.monotonicMs()
    this.#credit = Math.min(maxPerMinute, this.#credit + ((now - this.#lookedAt) * maxPerMinute) / 60_000)
    this.#lookedAt = now
    if (this.#credit < 1) return false
    this.#credit -= 1
    return true
  }

  /**
   * Waits for a place, in the order of the calls.
   * @returns undefined when too many wait already, or the signal aborts
   */
  async take(signal: AbortSignal): Promise<SessionPlace | undefined> {
    if (signal.aborted) return undefined
    if (this.#running < this.#limits.maxSessions) {
      this.#running += 1
      return this.#place()
    }
    if (this.#waiting.length >= MAX_WAITING) return undefined
    return await new Promise((resolve) => {
      const leave = () => {
        const index = this.#waiting.indexOf(enter)
        if (index >= 0) this.#waiting.splice(index, 1)
        resolve(undefined)
      }
      const enter = () => {
        signal.removeEventListener('abort', leave)
        resolve(this.#place())
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#waiting.push(enter)
    })
  }

  /** Hands the place to whoever waits longest. */
  #place(): SessionPlace {
    let isHeld = true
    const release = () => {
      if (!isHeld) return
      isHeld = false
      const next = this.#waiting.shift()
      if (next === undefined) this.#running -= 1
      else next()
    }
    return { release, [Symbol.dispose]: release }
  }
}
