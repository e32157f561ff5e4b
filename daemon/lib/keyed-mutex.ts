import { abortable } from './abort.ts'

/** Serialises work per key; different keys do not wait for each other. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>()

  /**
   * Runs `work` when everything queued before under the same key has ended, whatever its outcome.
   * @param signal gives up waiting; work that has begun is not interrupted by it
   * @throws the reason of the signal, or what `work` throws
   */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve()
    let finish: () => void = () => undefined
    const turn = new Promise<void>((resolve) => {
      finish = resolve
    })
    // Who gives up waiting still keeps its place: those behind it wait for everything before it.
    const tail = before.then(() => turn)
    this.#tails.set(key, tail)
    try {
      await abortable(before, signal)
      return await work()
    } finally {
      finish()
      void tail.then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key)
      })
    }
  }

  /** Reports whether something runs or waits under the key. */
  isBusy(key: string): boolean {
    return this.#tails.has(key)
  }
}
