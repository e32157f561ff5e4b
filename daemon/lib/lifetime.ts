/** Ends something. May be called more than once; later calls do nothing. */
export type Dispose = () => void | Promise<void>

/**
 * Collects what must be ended, and ends it in reverse order, once. What is added after the end is ended at once.
 * A failure does not keep the rest from being ended; all failures are thrown together.
 */
export class Lifetime {
  readonly #disposals: Dispose[] = []
  #ended: Promise<void> | undefined

  /** Adds something to end, and returns it. */
  add<T extends Dispose | Disposable | AsyncDisposable>(owned: T): T {
    const dispose = toDispose(owned)
    if (this.#ended !== undefined) void Promise.resolve(dispose())
    else this.#disposals.push(dispose)
    return owned
  }

  /** Ends everything; the same promise for everybody who asks. */
  dispose(): Promise<void> {
    this.#ended ??= this.#run()
    return this.#ended
  }

  async #run(): Promise<void> {
    const failures: unknown[] = []
    for (const dispose of this.#disposals.splice(0).reverse()) {
      try {
        await dispose()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'some things could not be ended')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}

function toDispose(owned: Dispose | Disposable | AsyncDisposable): Dispose {
  if (typeof owned === 'function') return owned
  if (Symbol.asyncDispose in owned) return () => Promise.resolve(owned[Symbol.asyncDispose]())
  return () => owned[Symbol.dispose]()
}
