import type { Readable, Writable } from 'node:stream'
import { deferred } from '../lib/deferred.ts'

/** Passes an output on to the caller, as fast as that takes it. */
export class OutputPump {
  /** Resolves when all was passed on, or the output was given up. Never rejects. */
  readonly ended: Promise<void>
  readonly #from: Readable
  readonly #to: Writable
  readonly #finish: () => void
  #over = false

  /** @param admit takes how many bytes come, tells how many of them may be passed on */
  constructor(from: Readable, to: Writable, admit: (bytes: number) => number) {
    this.#from = from
    this.#to = to
    const { promise, resolve } = deferred<void>()
    this.ended = promise
    this.#finish = () => {
      this.#over = true
      resolve()
    }
    from.on('data', (chunk: Buffer) => {
      if (!this.#over) this.#pass(chunk.subarray(0, admit(chunk.length)))
    })
    from.once('end', this.#finish)
    from.once('close', this.#finish)
    from.on('error', this.#finish)
    to.on('drain', () => from.resume())
    to.once('close', () => this.giveUp())
    // It tells of that only once.
    if (to.destroyed) this.giveUp()
  }

  /** Whether it is the program that has nothing to say, not the caller who does not listen. */
  get waits(): boolean {
    return this.#over || !this.#from.isPaused()
  }

  /** Reads no more. Idempotent. */
  giveUp(): void {
    this.#finish()
    this.#from.destroy()
  }

  /** What was admitted is passed on, even if there is to be no more. */
  #pass(chunk: Buffer): void {
    if (chunk.length > 0 && !this.#to.write(chunk)) this.#from.pause()
  }
}
