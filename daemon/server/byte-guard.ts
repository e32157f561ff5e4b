/**
 * Stands in front of the JSON-RPC library, which has no limits of its own: cuts the bytes of a client into message
 * bodies and refuses what is not a well-formed header or is too large, before anything is parsed or collected.
 */
import { LoopatError } from '@loopatd/protocol'

/** Largest header of a message, in bytes, its empty line included. */
export const MAX_HEADER_BYTES = 1024

const HEADER_END = '\r\n\r\n'
/** Every header that is allowed begins so; anything else is refused with its first byte. */
const HEADER_BEGIN = 'content-'
const NOTHING = Buffer.alloc(0)

function malformed(rule: string): LoopatError {
  return new LoopatError('protocol_error', `not a valid message: ${rule}`, {
    next: 'Send JSON-RPC 2.0 messages with a `Content-Length` header, or a `STREAM` line.',
  })
}

/** Cuts bytes into bodies. Holds at most one incomplete message. After an error it is unusable. */
export class ByteGuard {
  readonly #maxBodyBytes: number
  #buffer: Buffer = NOTHING
  /** Whether the buffer was made here and may be written to; else it is a piece as it came. */
  #isOwn = false
  #start = 0
  #end = 0
  /** Length of the body that is awaited; undefined while a header is. */
  #bodyBytes: number | undefined

  /** @param maxBodyBytes largest body, in bytes */
  constructor(maxBodyBytes: number) {
    this.#maxBodyBytes = maxBodyBytes
  }

  /**
   * Takes bytes as they come. A piece that comes while nothing is held is used where it is, and is the guard's from then
   * on; others are copied, so that many tiny pieces cost no more than few large ones.
   */
  push(chunk: Buffer): void {
    if (this.#start === this.#end) {
      this.#hold(chunk, chunk.length, false)
      return
    }
    const size = this.#end - this.#start
    if (!this.#isOwn || this.#end + chunk.length > this.#buffer.length) {
      const hasRoom = this.#isOwn && size + chunk.length <= this.#buffer.length
      const target = hasRoom ? this.#buffer : Buffer.allocUnsafe(2 * (size + chunk.length))
      this.#buffer.copy(target, 0, this.#start, this.#end)
      this.#hold(target, size, true)
    }
    chunk.copy(this.#buffer, this.#end)
    this.#end += chunk.length
  }

  /** Reports whether a message has begun that is not complete. Meaningful once {@link next} has returned undefined. */
  get isPartial(): boolean {
    return this.#end > this.#start || this.#bodyBytes !== undefined
  }

  /**
   * The body of the next message, valid until the next `push`; undefined until it is complete.
   * @throws LoopatError `protocol_error`, `message_too_large`
   */
  next(): Buffer | undefined {
    this.#bodyBytes ??= this.#readHeader()
    if (this.#bodyBytes === undefined || this.#end - this.#start < this.#bodyBytes) return undefined
    const body = this.#buffer.subarray(this.#start, this.#start + this.#bodyBytes)
    this.#start += this.#bodyBytes
    this.#bodyBytes = undefined
    if (this.#start === this.#end) this.#hold(NOTHING, 0, false)
    return body
  }

  /** Lets go of what is held. */
  clear(): void {
    this.#hold(NOTHING, 0, false)
    this.#bodyBytes = undefined
  }

  #hold(buffer: Buffer, length: number, isOwn: boolean): void {
    this.#buffer = buffer
    this.#isOwn = isOwn
    this.#start = 0
    this.#end = length
  }

  #readHeader(): number | undefined {
    const text = this.#buffer.toString('latin1', this.#start, Math.min(this.#end, this.#start + MAX_HEADER_BYTES))
    const begin = text.slice(0, HEADER_BEGIN.length).toLowerCase()
    if (!HEADER_BEGIN.startsWith(begin)) throw malformed('it does not begin with a `Content-Length` header')
    const end = text.indexOf(HEADER_END)
    if (end < 0) {
      if (text.length === MAX_HEADER_BYTES) throw malformed(`its header exceeds ${MAX_HEADER_BYTES} bytes`)
      return undefined
    }
    this.#start += end + HEADER_END.length
    return this.#contentLength(text.slice(0, end))
  }

  #contentLength(header: string): number {
    const lengths: number[] = []
    for (const line of header.split('\r\n')) {
      const length = /^content-length: ?(\d{1,9})$/i.exec(line)?.[1]
      if (length !== undefined) lengths.push(Number(length))
      else if (!/^content-type: ?[\x20-\x7e]*$/i.test(line)) throw malformed('its header has an invalid line')
    }
    const [length] = lengths
    if (length === undefined || lengths.length > 1) throw malformed('its header must have one `Content-Length`')
    if (length <= this.#maxBodyBytes) return length
    throw new LoopatError(
      'message_too_large',
      `a message of ${length} bytes exceeds the limit of ${this.#maxBodyBytes} bytes`,
      { next: 'Send less at once, or raise `daemon.max_message_bytes` in config.toml.' },
    )
  }
}
