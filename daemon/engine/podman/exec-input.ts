import { Writable } from 'node:stream'

/** What a terminal takes for end of file. */
const END_OF_FILE = '\x04'

/** After these bytes one end-of-file character ends the input; in the middle of a line the first only hands the line over. */
const LINE_ENDS = new Set([0x0a, 0x0d, 0x04])

/** Where input goes. */
export interface InputTarget {
  readonly stream: Writable
  /** A terminal's input does not end by closing the stream: its end is typed. A pipe is for input alone, the others carry the output, too. */
  readonly kind: 'pipe' | 'connection' | 'terminal'
}

/**
 * The input of a command. What its owner writes after the command has ended is discarded: that is no failure of the
 * owner, who cannot know.
 */
export class ExecInput extends Writable {
  readonly #opening: Promise<InputTarget | undefined>
  #target: InputTarget | undefined
  #atLineStart = true

  /** @param opening settles when input can be passed on; undefined when nobody will read it */
  constructor(opening: Promise<InputTarget | undefined>) {
    super()
    this.#opening = opening
    this.on('error', () => this.destroy())
  }

  override _construct(callback: (error?: Error | null) => void): void {
    this.#opening.then((target) => {
      this.#target = target
      // Its failure says that the command does not read any more.
      target?.stream.on('error', () => undefined)
      callback()
    }, callback)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#atLineStart = LINE_ENDS.has(chunk.at(-1) ?? 0x0a)
    this.#send(chunk, callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.#target?.kind === 'terminal') {
      this.#send(this.#atLineStart ? END_OF_FILE : END_OF_FILE + END_OF_FILE, callback)
      return
    }
    if (this.#target?.stream.destroyed === false) this.#target.stream.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    void this.#opening.then((target) => {
      if (target?.kind === 'pipe') target.stream.destroy()
    })
    callback(error)
  }

  #send(data: Buffer | string, callback: () => void): void {
    const stream = this.#target?.stream
    // Not at once: an endless writer would keep the daemon from everything else.
    if (stream === undefined || stream.destroyed || stream.writableEnded) setImmediate(callback)
    else stream.write(data, () => callback())
  }
}

/** The input of a command that has none: takes everything and forgets it. */
export function discardInput(): Writable {
  return new Writable({ write: (_chunk, _encoding, callback) => setImmediate(callback) })
}
