import type { Progress } from '@loopatd/protocol'

/** Where progress goes. */
export interface ProgressSenderOptions {
  /** Reports whether the client is behind with reading. */
  readonly isBehind: () => boolean
  /** Sends one value; resolves when it has left. */
  readonly send: (progress: Progress) => Promise<void>
}

/**
 * Sends the progress of one request. A client that is behind gets only the latest: progress is worth nothing later, and
 * must not fill its queue.
 */
export class ProgressSender {
  readonly #options: ProgressSenderOptions
  #latest: Progress | undefined
  #over = false

  constructor(options: ProgressSenderOptions) {
    this.#options = options
  }

  /** Takes a value. Does nothing after {@link finish}. */
  report(progress: Progress): void {
    if (this.#over) return
    const { isBehind, send } = this.#options
    this.#latest = isBehind() ? progress : undefined
    if (this.#latest === undefined) void send(progress).then(() => this.#flush())
  }

  /** The request is over: sends what was held back, so that the last word is not lost, and nothing after it. */
  finish(): void {
    this.#over = true
    if (this.#latest !== undefined) void this.#options.send(this.#latest)
    this.#latest = undefined
  }

  #flush(): void {
    const held = this.#latest
    if (held !== undefined && !this.#options.isBehind()) this.report(held)
  }
}
