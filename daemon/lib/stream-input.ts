import { Readable } from 'node:stream'

/** Pieces that wait are put together up to this many bytes. */
const BLOCK_BYTES = 16_384

/** What is told while input is consumed. */
export interface StreamInputOptions {
  /** Bytes that may be held; with more, {@link StreamInput.take} asks to be given no more. */
  readonly maxHeldBytes: number
  /** So many more bytes were passed on, or dropped because nobody reads. */
  readonly onConsumed: (bytes: number) => void
  /** There is room again after there was none. */
  readonly onRoom: () => void
}

/**
 * Holds input until it is read, and tells how much was: a plain Readable knows what is pushed into it, but not when
 * that is read.
 */
export class StreamInput {
  readonly stream: Readable
  readonly #options: StreamInputOptions
  /** Any two that follow each other are more than a block, so there are few, however small the pieces come. */
  readonly #held: Buffer[] = []
  /** Where the last one held is put together. */
  #block: Buffer | undefined
  #heldBytes = 0
  #wanted = false
  #ended = false

  constructor(options: StreamInputOptions) {
    this.#options = options
    this.stream = new Readable({
      read: () => {
        this.#wanted = true
        this.#passOn()
      },
      destroy: (error, done) => {
        this.#passOn()
        done(error)
      },
    })
  }

  /** Whether {@link end} was called. */
  get ended(): boolean {
    return this.#ended
  }

  /** Takes bytes, always. @returns false when no more should be given until there is room */
  take(bytes: Buffer): boolean {
    this.#hold(bytes)
    this.#heldBytes += bytes.length
    this.#passOn()
    return this.#heldBytes <= this.#options.maxHeldBytes
  }

  /** No more bytes will come. */
  end(): void {
    this.#ended = true
    this.#passOn()
  }

  #hold(bytes: Buffer): void {
    const last = this.#held.at(-1)
    const length = (last?.length ?? 0) + bytes.length
    if (last === undefined || length > BLOCK_BYTES) {
      this.#held.push(bytes)
      this.#block = undefined
      return
    }
    if (this.#block === undefined) {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      last.copy(this.#block)
    }
    bytes.copy(this.#block, last.length)
    this.#held.splice(-1, 1, this.#block.subarray(0, length))
  }

  #passOn(): void {
    const { maxHeldBytes, onConsumed, onRoom } = this.#options
    const wasFull = this.#heldBytes > maxHeldBytes
    let consumed = 0
    while (this.#wanted || this.stream.destroyed) {
      const bytes = this.#held.shift()
      if (bytes === undefined) break
      consumed += bytes.length
      // Cleared first: pushing may ask for more at once.
      this.#wanted = false
      if (!this.stream.destroyed) this.#wanted = this.stream.push(bytes)
    }
    this.#heldBytes -= consumed
    if (this.#ended && this.#held.length === 0 && !this.stream.destroyed && !this.stream.readableEnded) {
      this.stream.push(null)
    }
    if (consumed > 0) onConsumed(consumed)
    if (wasFull && this.#heldBytes <= maxHeldBytes) onRoom()
  }
}
