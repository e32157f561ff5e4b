import type { Clock } from '../lib/clock.ts'

/** Milliseconds for which a look counts. What is changed by the daemon itself is seen at once. */
const COUNTS_MS = 1_000

interface Look {
  readonly atMs: number
  readonly facts: readonly unknown[]
}

/**
 * Running loops that were found, a moment ago, to be as they are to be. Finding it out means looking at every file that
 * a loop's mounts depend on, which takes longer than a short command does.
 */
export class RecentLooks {
  readonly #clock: Clock
  readonly #looks = new Map<string, Look>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Reports whether a loop was found to be in order lately.
   * @param facts what else that depends on; compared by identity
   */
  has(id: string, facts: readonly unknown[]): boolean {
    const look = this.#looks.get(id)
    if (look === undefined || this.#clock.monotonicMs() - look.atMs > COUNTS_MS) return false
    return look.facts.every((fact, index) => fact === facts[index])
  }

  /** Keeps in mind that a loop is in order. */
  note(id: string, facts: readonly unknown[]): void {
    this.#looks.set(id, { atMs: this.#clock.monotonicMs(), facts })
  }

  /** A loop is no more. */
  forget(id: string): void {
    this.#looks.delete(id)
  }

  /** Something has changed that may concern every loop. */
  clear(): void {
    this.#looks.clear()
  }
}
