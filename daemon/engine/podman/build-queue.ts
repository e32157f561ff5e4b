import type { ProgressSink } from '../engine.ts'

interface Waiting {
  readonly start: () => void
  readonly onProgress: ProgressSink
}

/** Runs one build after another: podman does not run them side by side either, but tells nobody that they wait. */
export class BuildQueue {
  readonly #waiting: Waiting[] = []
  #isBusy = false

  /**
   * Runs `work` when its turn has come; meanwhile tells its place in the queue.
   * @throws the reason of the signal when it aborts before that, or what `work` throws
   */
  async run<T>(work: () => Promise<T>, onProgress: ProgressSink, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    await this.#turn(onProgress, signal)
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  async #turn(onProgress: ProgressSink, signal: AbortSignal | undefined): Promise<void> {
    if (!this.#isBusy) {
      this.#isBusy = true
      return
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        this.#tell()
        reject(signal?.reason)
      }
      const start = () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      const waiting = { start, onProgress }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiting.push(waiting)
      tellPlace(waiting, this.#waiting.length)
    })
  }

  #next(): void {
    const next = this.#waiting.shift()
    if (next === undefined) {
      this.#isBusy = false
      return
    }
    next.start()
    this.#tell()
  }

  #tell(): void {
    for (const [index, waiting] of this.#waiting.entries()) tellPlace(waiting, index + 1)
  }
}

function tellPlace({ onProgress }: Waiting, place: number): void {
  onProgress({ message: `Waiting for ${place} other ${place === 1 ? 'build' : 'builds'}` })
}
