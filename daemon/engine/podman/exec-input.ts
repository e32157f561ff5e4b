import { type Duplex, Writable } from 'node:stream'

/** What a terminal takes for end of file. */
const END_OF_FILE = '\x04'

/** After these bytes one end-of-file character ends the input; in the middle of a line the first only hands the line over. */
const LINE_ENDS = new Set([0x0a, 0x0d, 0x04])

/**
 * The input of a command. Without a terminal its end closes one direction of the connection; with one, which ignores
 * that, end of file is typed.
 */
export class ExecInput extends Writable {
  readonly #socket: Duplex
  readonly #isTerminal: boolean
  #atLineStart = true

  constructor(socket: Duplex, isTerminal: boolean) {
    super()
    this.#socket = socket
    this.#isTerminal = isTerminal
    // When the command has ended, its input is discarded: that is no failure of the writer.
    this.on('error', () => this.destroy())
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#atLineStart = LINE_ENDS.has(chunk[chunk.length - 1] ?? 0x0a)
    this.#send(chunk, callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.#isTerminal) {
      this.#send(this.#atLineStart ? END_OF_FILE : END_OF_FILE + END_OF_FILE, callback)
    } else {
      if (!this.#socket.destroyed) this.#socket.end()
      callback()
    }
  }

  #send(data: Buffer | string, callback: () => void): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) callback()
    // A failed write is no failure of the writer either: the command has ended.
    else this.#socket.write(data, () => callback())
  }
}

/** The input of a command that has none: takes everything and forgets it. */
export function discardInput(): Writable {
  return new Writable({ write: (_chunk, _encoding, callback) => callback() })
}
