import { Readable, Writable } from 'node:stream'
import { EngineError } from '../engine.ts'

/** Size of a frame's header: one byte of stream number, three of nothing, four of big-endian length. */
const HEADER_BYTES = 8

/** Podman sends at most 8 KiB; a longer frame means that the stream is not what we take it for. */
const MAX_FRAME_BYTES = 1024 * 1024

/** One output of a command. What is offered is either taken, or `later` is called when there is room again. */
export class Output extends Readable {
  #later: (() => void) | undefined
  #dropsWhenFull = false

  /**
   * Hands bytes over.
   * @returns whether more may be offered now; if not, `later` is called once, when it may
   */
  offer(bytes: Buffer, later: () => void): boolean {
    if (this.destroyed || (this.#dropsWhenFull && this.readableLength >= this.readableHighWaterMark)) return true
    if (this.push(bytes) || this.#dropsWhenFull) return true
    this.#later = later
    return false
  }

  /** From now on loses what its reader is too slow for, instead of holding the command up. */
  dropWhenFull(): void {
    this.#dropsWhenFull = true
    this.#resume()
  }

  /** Ends it in good order. */
  finish(): void {
    if (!this.destroyed) this.push(null)
  }

  override _read(): void {
    this.#resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // What nobody reads any more is discarded, so that the other output goes on.
    this.#resume()
    callback(error)
  }

  #resume(): void {
    const later = this.#later
    this.#later = undefined
    later?.()
  }
}

/** Takes the bytes of a command's connection and hands them to its outputs, as fast as the slower reader takes them. */
export abstract class OutputWriter extends Writable {
  /**
   * Takes the next piece of a chunk.
   * @returns where the rest begins, and whether it can be taken now; if not, `later` is called when it can
   */
  protected abstract take(chunk: Buffer, offset: number, later: () => void): { next: number; ready: boolean }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    let offset = 0
    const resume = () => {
      try {
        while (offset < chunk.length) {
          const taken = this.take(chunk, offset, resume)
          offset = taken.next
          if (!taken.ready) return
        }
      } catch (error) {
        callback(error instanceof Error ? error : new Error(String(error)))
        return
      }
      callback()
    }
    resume()
  }
}

/** Where the demultiplexer sends a piece of output; like {@link Output.offer}. */
export type Sink = (stream: 'stdout' | 'stderr', bytes: Buffer, later: () => void) => boolean

/** Splits the multiplexed output of a command without terminal. Iterative: the number of frames in a chunk is not limited. */
export class Demuxer extends OutputWriter {
  readonly #sink: Sink
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerLength = 0
  #left = 0
  #stream: 'stdout' | 'stderr' = 'stdout'

  constructor(sink: Sink) {
    super()
    this.#sink = sink
  }

  protected override take(chunk: Buffer, offset: number, later: () => void): { next: number; ready: boolean } {
    if (this.#left === 0) return { next: this.#takeHeader(chunk, offset), ready: true }
    const next = Math.min(chunk.length, offset + this.#left)
    this.#left -= next - offset
    return { next, ready: this.#sink(this.#stream, chunk.subarray(offset, next), later) }
  }

  override _final(callback: (error?: Error | null) => void): void {
    const whole = this.#left === 0 && this.#headerLength === 0
    callback(whole ? null : new EngineError('connection_lost', 'the output of a command was cut off'))
  }

  #takeHeader(chunk: Buffer, offset: number): number {
    const next = Math.min(chunk.length, offset + HEADER_BYTES - this.#headerLength)
    this.#headerLength += chunk.copy(this.#header, this.#headerLength, offset, next)
    if (this.#headerLength < HEADER_BYTES) return next
    this.#headerLength = 0
    this.#left = this.#header.readUInt32BE(4)
    const number = this.#header[0]
    if (number !== 1 && number !== 2)
      throw new EngineError('failed', `podman sent output of an unknown stream ${number}`)
    if (this.#left > MAX_FRAME_BYTES) throw new EngineError('failed', `podman sent a frame of ${this.#left} bytes`)
    this.#stream = number === 1 ? 'stdout' : 'stderr'
    return next
  }
}

/** Takes the output of a command with terminal, which is not multiplexed. */
export class Passer extends OutputWriter {
  readonly #sink: Sink

  constructor(sink: Sink) {
    super()
    this.#sink = sink
  }

  protected override take(chunk: Buffer, offset: number, later: () => void): { next: number; ready: boolean } {
    return { next: chunk.length, ready: this.#sink('stdout', chunk.subarray(offset), later) }
  }
}
