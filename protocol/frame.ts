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

/** A decoded frame. */
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

/** Cuts a byte stream into frames. Keeps at most one incomplete frame; iterative, so many tiny frames do not recurse. */
export class FrameDecoder {
  #pending: Buffer[] = []
  #size = 0

  /**
   * Takes bytes as they come.
   * @returns the frames that are complete now, in order
   * @throws RangeError on an unknown channel or an oversized frame; the stream is then unusable
   */
  push(chunk: Buffer): Frame[] {
    this.#pending.push(chunk)
    this.#size += chunk.length
    const frames: Frame[] = []
    for (;;) {
      const frame = this.#next()
      if (frame === undefined) return frames
      frames.push(frame)
    }
  }

  /** Reports whether the stream may end here, that is, between two frames. */
  get atBoundary(): boolean {
    return this.#size === 0
  }

  #next(): Frame | undefined {
    if (this.#size < FRAME_HEADER_BYTES) return undefined
    const head = this.#contiguous(FRAME_HEADER_BYTES)
    const channel = head.readUInt8(0)
    const length = head.readUInt32BE(1)
    if (!isChannel(channel)) throw new RangeError(`unknown stream channel ${channel}`)
    if (length > MAX_FRAME_BYTES) throw new RangeError(`stream frame of ${length} bytes exceeds ${MAX_FRAME_BYTES}`)
    if (this.#size < FRAME_HEADER_BYTES + length) return undefined
    const whole = this.#contiguous(FRAME_HEADER_BYTES + length)
    this.#size -= FRAME_HEADER_BYTES + length
    const rest = whole.subarray(FRAME_HEADER_BYTES + length)
    if (rest.length > 0) this.#pending[0] = rest
    else this.#pending.shift()
    return { channel, payload: whole.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length) }
  }

  /** The first pending buffer, joined with its followers only as far as `bytes` needs. */
  #contiguous(bytes: number): Buffer {
    const [first] = this.#pending
    if (first !== undefined && first.length >= bytes) return first
    let count = 0
    let size = 0
    for (const buffer of this.#pending) {
      count += 1
      size += buffer.length
      if (size >= bytes) break
    }
    const joined = Buffer.concat(this.#pending.slice(0, count), size)
    this.#pending.splice(0, count, joined)
    return joined
  }
}
