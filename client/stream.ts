/** The client's end of a raw stream: stdin, stdout and stderr of something in a loop, as Node streams. */
import type { Socket } from 'node:net'
import { Readable, Writable } from 'node:stream'
import type { ExecControl, ResultOf } from '@loopatd/protocol'
import {
  CHANNEL,
  type Channel,
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameHeader,
  MAX_FRAME_BYTES,
  STREAM_WINDOW_BYTES,
} from '@loopatd/protocol/frame'
import { dial } from './dial.ts'

/** Bytes that each output holds for its reader before it slows the daemon down. */
const OUTPUT_BUFFER_BYTES = 262_144

/**
 * A connected raw stream. All three streams apply back-pressure; stdout and stderr share one connection, so both must
 * be read (or resumed) for either to flow. When the connection goes away the outputs end and stdin is destroyed.
 */
export interface RawStream extends AsyncDisposable {
  /** Id that other requests name the stream by. */
  readonly id: string
  /** Bytes to the command; ending it ends the command's stdin. */
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** Sends a control message; it overtakes stdin that the command does not read. Does nothing once the stream is over. */
  control(message: ExecControl): void
  /** Resolves when the connection is over. Never rejects. */
  readonly closed: Promise<void>
  /** Ends the stream at once: whatever is unread is lost. Idempotent. */
  close(): Promise<void>
}

/**
 * Asks for a stream and connects it.
 * @param open sends `stream/open`
 * @throws LoopatError what the daemon answers, `daemon_unreachable`, `cancelled`
 */
export async function openStream(
  path: string,
  open: (signal: AbortSignal | undefined) => Promise<ResultOf<'stream/open'>>,
  signal?: AbortSignal,
): Promise<RawStream> {
  const { stream, token } = await open(signal)
  const socket = await dial(path, signal)
  socket.write(`STREAM ${token}\n`)
  return new SocketStream(stream, socket)
}

class SocketStream implements RawStream {
  readonly id: string
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #decoder = new FrameDecoder()
  /** Outputs whose reader is behind. */
  readonly #full = new Set<Readable>()
  /** Bytes of stdin that the daemon has not yet said to be consumed. */
  #outstanding = 0
  #blocked: (() => void) | undefined

  constructor(id: string, socket: Socket) {
    this.id = id
    this.#socket = socket
    this.stdout = this.#output()
    this.stderr = this.#output()
    this.stdin = new Writable({
      write: (chunk: Buffer, _encoding, done) => this.#sendInput(chunk, done),
      final: (done) => this.#send(CHANNEL.stdin, Buffer.alloc(0), done),
      decodeStrings: true,
    })
    socket.on('data', (chunk) => this.#receive(chunk))
    // 'close' follows and ends the streams; why the request failed is said by its answer.
    socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#end()
        resolve()
      })
    })
  }

  control(message: ExecControl): void {
    if (this.#socket.writable) this.#socket.write(encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify(message))))
  }

  close(): Promise<void> {
    this.#socket.destroy()
    return this.closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #output(): Readable {
    const output: Readable = new Readable({
      highWaterMark: OUTPUT_BUFFER_BYTES,
      read: () => {
        if (this.#full.delete(output) && this.#full.size === 0) this.#socket.resume()
      },
      destroy: (error, done) => {
        // Nobody will read it: what still comes must not hold up the other output.
        if (this.#full.delete(output) && this.#full.size === 0) this.#socket.resume()
        done(error)
      },
    })
    return output
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#decoder.push(chunk)) this.#take(frame)
    } catch (error) {
      // Not what a daemon sends: an unknown channel, an oversized frame or control that is no JSON.
      if (!(error instanceof RangeError || error instanceof SyntaxError)) throw error
      this.#socket.destroy()
    }
    if (this.#full.size > 0) this.#socket.pause()
  }

  #take({ channel, payload }: Frame): void {
    if (channel === CHANNEL.control) {
      this.#acknowledge(payload)
      return
    }
    const output = channel === CHANNEL.stdout ? this.stdout : this.stderr
    if (output.destroyed || output.readableEnded) return
    if (payload.length === 0) output.push(null)
    else if (!output.push(payload)) this.#full.add(output)
  }

  /** Other messages than acknowledgements are for newer clients. */
  #acknowledge(payload: Buffer): void {
    const message: unknown = JSON.parse(payload.toString())
    if (typeof message !== 'object' || message === null || !('type' in message) || message.type !== 'ack') return
    if (!('bytes' in message) || typeof message.bytes !== 'number') return
    this.#outstanding = Math.max(0, this.#outstanding - message.bytes)
    const resume = this.#blocked
    this.#blocked = undefined
    resume?.()
  }

  /** Sends as much as the window has room for, then waits for an acknowledgement: control messages never queue behind. */
  #sendInput(chunk: Buffer, done: () => void): void {
    const room = Math.min(STREAM_WINDOW_BYTES - this.#outstanding, MAX_FRAME_BYTES)
    if (room <= 0) {
      this.#blocked = () => this.#sendInput(chunk, done)
      return
    }
    const piece = chunk.subarray(0, room)
    const rest = chunk.subarray(piece.length)
    this.#outstanding += piece.length
    // An empty frame would mean the end.
    if (piece.length === 0) done()
    else this.#send(CHANNEL.stdin, piece, () => (rest.length === 0 ? done() : this.#sendInput(rest, done)))
  }

  /** A failed write is not reported: the end of the socket follows and destroys stdin. Until then nothing moves. */
  #send(channel: Channel, payload: Buffer, done: () => void): void {
    this.#socket.cork()
    this.#socket.write(frameHeader(channel, payload.length))
    this.#socket.write(payload, (error) => {
      if (error === null || error === undefined) done()
    })
    this.#socket.uncork()
  }

  #end(): void {
    this.#blocked = undefined
    this.stdin.destroy()
    for (const output of [this.stdout, this.stderr]) {
      if (!output.destroyed) output.push(null)
    }
  }
}
