import type { Clock } from '../lib/clock.ts'

/** Longest sleep in milliseconds: timers of the runtime overflow at 2^31. */
const LONGEST_MS = 2 ** 30
/** Entries that are out of date are thrown away when they are more than those in force, and more than this. */
const MAX_STALE = 64

interface Entry {
  readonly key: string
  readonly due: number
}

/**
 * Tells when the time of a key has come, with one timer for all of them. A hundred thousand keys cost no more than their
 * entries: a heap, in which a key that was moved or taken away leaves an entry behind that is skipped later.
 */
export class Timetable implements Disposable {
  readonly #clock: Clock
  readonly #onDue: (key: string) => void
  readonly #due = new Map<string, number>()
  #heap: Entry[] = []
  #timer: AbortController | undefined
  #wakesAt = Number.POSITIVE_INFINITY

  /** @param onDue is called once per entry, when its time has come. Must not throw */
  constructor(clock: Clock, onDue: (key: string) => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  /** How many keys wait. */
  get size(): number {
    return this.#due.size
  }

  /** When the time of a key comes, in milliseconds of the monotonic clock; undefined when it does not wait. */
  dueOf(key: string): number | undefined {
    return this.#due.get(key)
  }

  /** Has a key wait until `due`, in place of what it waited for before. A time that is over comes at once, not within this call. */
  set(key: string, due: number): void {
    if (this.#due.get(key) === due) return
    this.#due.set(key, due)
    this.#push({ key, due })
    this.#compact()
    this.#arm()
  }

  /** Takes a key away. One that does not wait is a success. */
  delete(key: string): void {
    this.#due.delete(key)
    if (this.#due.size === 0) this.#disarm()
  }

  /** Forgets all keys. */
  [Symbol.dispose](): void {
    this.#due.clear()
    this.#disarm()
  }

  #disarm(): void {
    this.#heap = []
    this.#timer?.abort()
    this.#timer = undefined
    this.#wakesAt = Number.POSITIVE_INFINITY
  }

  /** A timer that wakes too early only looks again, so it is left alone. */
  #arm(): void {
    const first = this.#first()
    if (first === undefined || this.#wakesAt <= first.due) return
    this.#timer?.abort()
    const timer = new AbortController()
    this.#timer = timer
    this.#wakesAt = first.due
    void this.#wait(first.due, timer)
  }

  async #wait(due: number, timer: AbortController): Promise<void> {
    const ms = Math.ceil(Math.min(LONGEST_MS, Math.max(0, due - this.#clock.monotonicMs())))
    try {
      await this.#clock.sleep(ms, timer.signal)
    } catch (error) {
      if (!timer.signal.aborted) throw error
    }
    if (this.#timer !== timer) return
    this.#timer = undefined
    this.#wakesAt = Number.POSITIVE_INFINITY
    this.#tell()
    this.#arm()
  }

  #tell(): void {
    const now = this.#clock.monotonicMs()
    for (let first = this.#first(); first !== undefined && first.due <= now; first = this.#first()) {
      this.#pop()
      this.#due.delete(first.key)
      this.#onDue(first.key)
    }
  }

  /** The next entry that is in force. */
  #first(): Entry | undefined {
    for (;;) {
      const [first] = this.#heap
      if (first === undefined || this.#due.get(first.key) === first.due) return first
      this.#pop()
    }
  }

  #compact(): void {
    if (this.#heap.length <= 2 * this.#due.size + MAX_STALE) return
    // A sorted array is a heap.
    this.#heap = [...this.#due].map(([key, due]) => ({ key, due })).sort((a, b) => a.due - b.due)
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(entry)
    while (at > 0) {
      const up = (at - 1) >> 1
      const parent = heap[up]
      if (parent === undefined || parent.due <= entry.due) break
      heap[at] = parent
      at = up
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      const below = this.#smallerChild(at)
      const child = heap[below]
      if (child === undefined || child.due >= last.due) break
      heap[at] = child
      at = below
    }
    heap[at] = last
  }

  #smallerChild(at: number): number {
    const left = 2 * at + 1
    const [a, b] = [this.#heap[left], this.#heap[left + 1]]
    return a !== undefined && b !== undefined && b.due < a.due ? left + 1 : left
  }
}
