import type { Clock } from '../lib/clock.ts'

/** Milliseconds for which callers that come too fast are counted, before that is noted. */
const COLLECT_MS = 5_000

/** Counts callers that are refused in great number, so that they fill no log: one note tells how many there were. */
export class LimitNote {
  readonly #clock: Clock
  readonly #note: (count: number) => void
  #count = 0

  /** @param note must not throw */
  constructor(clock: Clock, note: (count: number) => void) {
    this.#clock = clock
    this.#note = note
  }

  /** Counts one. */
  add(): void {
    this.#count += 1
    if (this.#count > 1) return
    void this.#clock.sleep(COLLECT_MS).then(() => this.flush())
  }

  /** Notes those that were counted. */
  flush(): void {
    const count = this.#count
    this.#count = 0
    if (count > 0) this.#note(count)
  }
}
