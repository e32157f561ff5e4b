import { abortable } from './abort.ts'

/** What one caller brings to a shared operation. */
export interface SharedTask<T, P> {
  /**
   * Begins the operation; only the first caller's is used. Its signal aborts when nobody waits for the result any more.
   * It must settle after an abort, when it has cleaned up.
   */
  readonly start: (report: (progress: P) => void, signal: AbortSignal) => Promise<T>
  /** Takes all progress from the beginning of the operation, in order. Must not throw. */
  readonly onProgress?: (progress: P) => void
}

interface Running<T, P> {
  readonly result: Promise<T>
  /** Resolves when the operation is over, however it ended. */
  readonly over: Promise<void>
  readonly isOver: () => boolean
  readonly controller: AbortController
  readonly history: P[]
  readonly waiters: Set<SharedTask<T, P>>
}

/**
 * Lets concurrent callers share one operation per key. Every caller gets its result or its error, and all of its
 * progress. A caller that aborts leaves at once; the operation is cancelled when the last one has left. Nothing is
 * remembered once it is over.
 */
export class Coalesce<T, P = never> {
  readonly #running = new Map<string, Running<T, P>>()
  readonly #replayLimit: number

  /** @param replayLimit how many of the latest progress values late callers get */
  constructor(replayLimit = 1000) {
    this.#replayLimit = replayLimit
  }

  /** Reports whether an operation with this key is under way and wanted. */
  isRunning(key: string): boolean {
    return this.#running.get(key)?.controller.signal.aborted === false
  }

  /**
   * Joins the operation with this key, or begins it. One that was cancelled and still cleans up is waited for first.
   * @throws what the operation rejects with, or the reason of `signal`
   */
  async run(key: string, task: SharedTask<T, P>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    let running = this.#running.get(key)
    while (running?.controller.signal.aborted === true) {
      await abortable(running.over, signal)
      running = this.#running.get(key)
    }
    return await this.#join(running ?? this.#begin(key, task), task, signal)
  }

  /** Resolves when no operation runs any more, also none that only cleans up. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all([...this.#running.values()].map((running) => running.over))
  }

  #begin(key: string, task: SharedTask<T, P>): Running<T, P> {
    const controller = new AbortController()
    const history: P[] = []
    const waiters = new Set<SharedTask<T, P>>()
    const report = (progress: P) => {
      history.push(progress)
      if (history.length > this.#replayLimit) history.shift()
      for (const waiter of waiters) waiter.onProgress?.(progress)
    }
    const result = Promise.resolve().then(() => task.start(report, controller.signal))
    const isOver = () => this.#running.get(key)?.result !== result
    const forget = () => {
      this.#running.delete(key)
    }
    // Whoever waits sees the error; when nobody is left, nobody wants it.
    const over = result.then(forget, forget)
    const running = { result, over, isOver, controller, history, waiters }
    this.#running.set(key, running)
    return running
  }

  async #join(running: Running<T, P>, task: SharedTask<T, P>, signal: AbortSignal | undefined): Promise<T> {
    for (const progress of running.history) task.onProgress?.(progress)
    // A copy: one caller may come twice with the same object.
    const waiter = { ...task }
    running.waiters.add(waiter)
    try {
      return await abortable(running.result, signal)
    } finally {
      running.waiters.delete(waiter)
      if (running.waiters.size === 0 && !running.isOver()) running.controller.abort(signal?.reason)
    }
  }
}
