/**
 * Frames of a raw stream: one byte channel, four bytes length (big-endian), then that many bytes.
 * An empty frame on `stdin`, `stdout` or `stderr` ends that direction. Loads no library.
 */

/** Channels of a raw stream. `control` carries one JSON value per frame. */
export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, control: 3 } as const
export type Channel = (typeof CHANNEL)[keyof typeof CHANNEL]

/** Bytes before the payload. */
export const FRAME_HEADER_BYTES = 5
/** Largest payload of a frame, in bytes; larger ones are a protocol error. */
export const MAX_FRAME_BYTES = 1_048_576

/**
 * Bytes of stdin that a client should have outstanding at most. The daemon reports what was consumed with control
 * messages ({@link StreamAck}). A client that keeps to the window can always be heard: its control messages never queue
 * behind stdin that nobody reads. One that does not is slowed down once the daemon holds this much.
 */
export const STREAM_WINDOW_BYTES = 1_048_576

/** Control message from the daemon: so many more bytes of stdin were consumed. Clients ignore types they don't know. */
export interface StreamAck {
  readonly type: 'ack'
  readonly bytes: number
}

/**
 * A decoded frame, or a piece of one: what a frame of stdin, stdout or stderr carries is handed on as it comes. Only the
 * frame that ends such a channel is empty.
 */
export interface Frame {
  readonly channel: Channel
  readonly payload: Buffer
}

/** Header of a frame whose payload is written after it, so that payloads are never copied. */
export function frameHeader(channel: Channel, length: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
  header.writeUInt8(channel, 0)
  header.writeUInt32BE(length, 1)
  return header
}

/** A whole frame, for small payloads. */
export function encodeFrame(channel: Channel, payload: Uint8Array): Buffer {
  return Buffer.concat([frameHeader(channel, payload.length), payload])
}

function isChannel(value: number): value is Channel {
  return value >= CHANNEL.stdin && value <= CHANNEL.control
}

/** Cuts a byte stream into frames. Keeps at most an incomplete control message; many tiny frames do not recurse. */
export class FrameDecoder {
  readonly #maxControlBytes: number
  /** Where a header, or a control message, is collected that did not come in one piece. */
  #pending: Buffer | undefined
  #pendingBytes = 0
  /** The frame that has begun. */
  #channel: Channel | undefined
  #missing = 0

  /** @param maxControlBytes largest payload on the control channel */
  constructor(maxControlBytes: number = MAX_FRAME_BYTES) {
    this.#maxControlBytes = maxControlBytes
  }

  /**
   * Takes bytes as they come.
   * @returns what of frames is there now, in order
   * @throws RangeError on an unknown channel or an oversized frame; the stream is then unusable
   */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = []
    for (let rest = chunk; rest.length > 0; )
      rest = this.#channel === undefined ? this.#begin(rest, frames) : this.#go(rest, frames)
    return frames
  }

  /** Reports whether the stream may end here, that is, between two frames. */
  get atBoundary(): boolean {
    return this.#channel === undefined && this.#pendingBytes === 0
  }

  /** Reads a header. @returns what is behind it */
  #begin(bytes: Buffer, frames: Frame[]): Buffer {
    const header = this.#whole(bytes, FRAME_HEADER_BYTES)
    if (header === undefined) return bytes.subarray(bytes.length)
    const channel = header.whole.readUInt8(0)
    const length = header.whole.readUInt32BE(1)
    if (!isChannel(channel)) throw new RangeError(`unknown stream channel ${channel}`)
    const most = channel === CHANNEL.control ? this.#maxControlBytes : MAX_FRAME_BYTES
    if (length > most) throw new RangeError(`stream frame of ${length} bytes exceeds ${most}`)
    if (length === 0) frames.push({ channel, payload: header.whole.subarray(0, 0) })
    else this.#channel = channel
    this.#missing = length
    return header.rest
  }

  /** Reads on in a frame. @returns what is behind it */
  #go(bytes: Buffer, frames: Frame[]): Buffer {
    const channel = this.#channel ?? CHANNEL.control
    if (channel === CHANNEL.control) {
      const message = this.#whole(bytes, this.#missing)
      if (message === undefined) return bytes.subarray(bytes.length)
      frames.push({ channel, payload: message.whole })
      this.#channel = undefined
      return message.rest
    }
    const payload = bytes.subarray(0, this.#missing)
    frames.push({ channel, payload })
    this.#missing -= payload.length
    if (this.#missing === 0) this.#channel = undefined
    return bytes.subarray(payload.length)
  }

  /** Collects so many bytes. @returns undefined while they are not there */
  #whole(bytes: Buffer, length: number): { readonly whole: Buffer; readonly rest: Buffer } | undefined {
    if (this.#pending === undefined && bytes.length >= length) {
      return { whole: bytes.subarray(0, length), rest: bytes.subarray(length) }
    }
    const whole = this.#pending ?? Buffer.allocUnsafe(length)
    const taken = bytes.copy(whole, this.#pendingBytes)
    this.#pendingBytes += taken
    const isWhole = this.#pendingBytes === length
    this.#pending = isWhole ? undefined : whole
    if (!isWhole) return undefined
    this.#pendingBytes = 0
    return { whole, rest: bytes.subarray(taken) }
  }
}
