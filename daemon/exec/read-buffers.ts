/** Bytes that are read at once; what a pipe holds. */
export const READ_BYTES = 65_536
/** Buffers that are kept for later, at most. */
const MAX_FREE = 32

/** Buffers to read into. They are used again, for fresh ones come faster than they are collected. */
export class ReadBuffers {
  readonly #free: Buffer[] = []

  /** A buffer whose content is of no interest. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES)
  }

  /** Gives one back. Nobody else may use it any more. */
  give(buffer: Uint8Array): void {
    if (this.#free.length < MAX_FREE) this.#free.push(Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength))
  }
}
