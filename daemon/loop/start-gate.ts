import { abortable } from '../lib/abort.ts'
import type { OnProgress } from '../lib/progress.ts'

/** Who wants to start something. */
export interface GateRequest {
  /** Names what is started; one at a time. */
  readonly key: string
  /** Whether a person waits: then it comes before all for whom nobody waits. */
  readonly isInteractive: boolean
  /** Is told of the place in the queue. */
  readonly onProgress: OnProgress
}

interface Waiting {
  readonly request: GateRequest
  isInteractive: boolean
  readonly enter: () => void
  /** The place that was told last. */
  told: number
}

/**
 * Lets few start at the same time and keeps the rest in a queue, persons first: many starts at once would each take
 * longer than all of them in turn, and be felt by what runs already.
 */
export class StartGate {
  readonly #places: number
  #taken = 0
  #queue: Waiting[] = []

  /** @param places how many may start at the same time, at least 1 */
  constructor(places: number) {
    this.#places = places
  }

  /** How many wait. */
  get waiting(): number {
    return this.#queue.length
  }

  /**
   * Waits for a place.
   * @returns gives it back, once
   * @throws the reason of the signal
   */
  async enter(request: GateRequest, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#taken < this.#places) this.#taken += 1
    else await this.#wait(request, signal)
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (isHeld) this.#leave()
        isHeld = false
      },
    }
  }

  /** A person waits now for what is in the queue already. */
  promote(key: string): void {
    const waiting = this.#queue.find(({ request }) => request.key === key)
    if (waiting === undefined || waiting.isInteractive) return
    this.#queue = this.#queue.filter((other) => other !== waiting)
    waiting.isInteractive = true
    this.#insert(waiting)
  }

  async #wait(request: GateRequest, signal: AbortSignal): Promise<void> {
    let enter: () => void = () => undefined
    const turn = new Promise<void>((resolve) => {
      enter = resolve
    })
    const waiting: Waiting = { request, isInteractive: request.isInteractive, enter, told: 0 }
    this.#insert(waiting)
    try {
      await abortable(turn, signal)
    } catch (error) {
      const left = this.#queue.filter((other) => other !== waiting)
      // The place came in the same moment: somebody else gets it.
      if (left.length === this.#queue.length) this.#leave()
      this.#queue = left
      this.#tell()
      throw error
    }
  }

  #insert(waiting: Waiting): void {
    const at = waiting.isInteractive ? this.#queue.findIndex((other) => !other.isInteractive) : -1
    this.#queue.splice(at < 0 ? this.#queue.length : at, 0, waiting)
    this.#tell()
  }

  #leave(): void {
    const next = this.#queue.shift()
    if (next === undefined) this.#taken -= 1
    else next.enter()
    this.#tell()
  }

  #tell(): void {
    for (const [index, waiting] of this.#queue.entries()) {
      const place = index + 1
      if (waiting.told === place) continue
      waiting.told = place
      waiting.request.onProgress({ message: `Waiting for other starts: number ${place} in the queue` })
    }
  }
}
