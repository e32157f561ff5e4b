import type { LoopatError } from '@loopatd/protocol'

/** A request in flight. */
export interface RunningRequest {
  /** Aborts when the request is given up; the reason is what it is answered with. */
  readonly signal: AbortSignal
  cancel(reason: LoopatError): void
  /** The request is answered. Idempotent. */
  end(): void
}

/** The requests of one connection that are not answered. */
export class RequestSet {
  readonly #running = new Set<AbortController>()
  readonly #waiting: (() => void)[] = []

  get size(): number {
    return this.#running.size
  }

  begin(): RunningRequest {
    const controller = new AbortController()
    this.#running.add(controller)
    return {
      signal: controller.signal,
      cancel: (reason) => controller.abort(reason),
      end: () => {
        this.#running.delete(controller)
        if (this.#running.size === 0) for (const resolve of this.#waiting.splice(0)) resolve()
      },
    }
  }

  /** Gives all of them up; they are over when their services have cleaned up. */
  abort(reason: LoopatError): void {
    for (const controller of this.#running) controller.abort(reason)
  }

  /** Resolves when there is none. */
  idle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}
