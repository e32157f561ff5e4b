import type { Socket } from 'node:net'
import { type Readable, Writable } from 'node:stream'
import {
  CHANNEL,
  type Channel,
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameHeader,
  MAX_FRAME_BYTES,
  STREAM_WINDOW_BYTES,
  type StreamAck,
} from '@loopatd/protocol/frame'
import { StreamInput } from './stream-input.ts'

/** Largest control message, in bytes. */
const MAX_CONTROL_BYTES = 4096
/** Control messages kept for a listener that is still to come. */
const MAX_EARLY = 16
/** Consumed stdin is reported to the client in steps of this many bytes. */
const ACK_BYTES = STREAM_WINDOW_BYTES / 4
/** Output that waits for the client before whoever writes it is told to pause, in bytes. */
const OUTPUT_BYTES = 262_144
/** Milliseconds that a client may take to hang up after it was sent everything. */
const LINGER_MS = 5000
/** Milliseconds that a client may take to read the output of a request that was given up. */
const GIVEN_UP_MS = 2000

/** Takes what a control message says. @throws RangeError when it is none */
export type CheckControl<Message> = (value: unknown) => Message

/**
 * The daemon's end of a raw stream. A client that breaks the protocol loses this stream and nothing else.
 *
 * Output is slowed down by the client. stdin is collected up to the window and slowed down beyond it, so that control
 * messages of a client that keeps to the window come through whether or not anybody reads stdin.
 *
 * @typeParam Message what a client may say on the control channel
 */
export class RawStream<Message> {
  readonly stdout: Writable
  readonly stderr: Writable
  /** Resolves when the connection is over. Never rejects. */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #decoder = new FrameDecoder(MAX_CONTROL_BYTES)
  readonly #input: StreamInput
  readonly #check: CheckControl<Message>
  readonly #listeners = new Set<(message: Message) => void>()
  readonly #early: Message[] = []
  /** Bytes of stdin that were consumed and not yet reported. */
  #consumed = 0
  #closing: Promise<void> | undefined

  /**
   * @param socket right behind what began the stream, such as the line with the token
   * @param head bytes that came with that
   * @param check what control messages must pass
   */
  constructor(socket: Socket, head: Buffer, check: CheckControl<Message>) {
    this.#socket = socket
    this.#check = check
    this.#input = new StreamInput({
      maxHeldBytes: STREAM_WINDOW_BYTES,
      onConsumed: (bytes) => this.#acknowledge(bytes),
      onRoom: () => socket.resume(),
    })
    this.stdout = this.#output(CHANNEL.stdout)
    this.stderr = this.#output(CHANNEL.stderr)
    // Whoever pipes through the streams sees their errors; when nobody does, they must not end the daemon.
    for (const stream of [this.stdin, this.stdout, this.stderr]) stream.on('error', () => undefined)
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => this.#receive(chunk))
    // A client that hangs up has lost interest in what the stream belongs to.
    socket.once('end', () => this.destroy())
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        for (const stream of [this.stdin, this.stdout, this.stderr]) stream.destroy()
        this.#listeners.clear()
        resolve()
      })
    })
    this.#receive(head)
    socket.resume()
  }

  get stdin(): Readable {
    return this.#input.stream
  }

  /** Calls the listener for each control message, checked. @returns stops listening */
  onControl(listener: (message: Message) => void): () => void {
    this.#listeners.add(listener)
    for (const message of this.#early.splice(0)) listener(message)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Sends a control message once all output that was written before is sent. Nothing happens when that never is. */
  async say(message: object): Promise<void> {
    for (const output of [this.stdout, this.stderr]) await Promise.race([this.closed, isSent(output)])
    this.#tell(message)
  }

  /**
   * Flushes what was written and hangs up. Idempotent.
   * @param last control message behind both outputs
   */
  close(last?: object): Promise<void> {
    this.#closing ??= this.#flush(last)
    return this.#closing
  }

  /** Once the signal aborts, the client has some time to take what is left; then the stream is destroyed. */
  limitTo(signal: AbortSignal): void {
    const onAbort = () => this.#destroyAfter(GIVEN_UP_MS)
    signal.addEventListener('abort', onAbort, { once: true })
    void this.closed.then(() => signal.removeEventListener('abort', onAbort))
  }

  /** Ends the stream at once, losing what was not sent. Idempotent. */
  destroy(): void {
    this.#socket.destroy()
  }

  /** Ends both outputs and hangs up; input that still comes is dropped, since closing an unread socket resets its peer. */
  async #flush(last: object | undefined): Promise<void> {
    this.stdin.destroy()
    this.#socket.resume()
    for (const output of [this.stdout, this.stderr]) {
      if (!output.destroyed) output.end()
      await Promise.race([this.closed, isOver(output)])
    }
    if (last !== undefined) this.#tell(last)
    const sent = new Promise<void>((resolve) => {
      this.#socket.end(() => resolve())
    })
    await Promise.race([this.closed, sent])
    this.#destroyAfter(LINGER_MS)
  }

  #destroyAfter(ms: number): void {
    const timer = setTimeout(() => this.destroy(), ms).unref()
    void this.closed.then(() => clearTimeout(timer))
  }

  #output(channel: Channel): Writable {
    return new Writable({
      highWaterMark: OUTPUT_BYTES,
      write: (chunk: Buffer, _encoding, done) => this.#send(channel, chunk, done),
      final: (done) => this.#sendFrame(channel, Buffer.alloc(0), done),
    })
  }

  #send(channel: Channel, bytes: Buffer, done: () => void): void {
    // An empty frame would mean the end.
    if (bytes.length === 0) done()
    else if (bytes.length <= MAX_FRAME_BYTES) this.#sendFrame(channel, bytes, done)
    else {
      const rest = bytes.subarray(MAX_FRAME_BYTES)
      this.#sendFrame(channel, bytes.subarray(0, MAX_FRAME_BYTES), () => this.#send(channel, rest, done))
    }
  }

  /** A failed write is not reported: the end of the socket follows and destroys the streams. Until then nothing moves. */
  #sendFrame(channel: Channel, payload: Buffer, done: () => void): void {
    this.#socket.cork()
    this.#socket.write(frameHeader(channel, payload.length))
    this.#socket.write(payload, (error) => {
      if (error === null || error === undefined) done()
    })
    this.#socket.uncork()
  }

  #acknowledge(bytes: number): void {
    this.#consumed += bytes
    if (this.#consumed < ACK_BYTES || !this.#socket.writable) return
    const message: StreamAck = { type: 'ack', bytes: this.#consumed }
    this.#consumed = 0
    this.#tell(message)
  }

  #tell(message: object): void {
    if (!this.#socket.writable) return
    this.#socket.write(encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify(message))))
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#decoder.push(chunk)) this.#take(frame)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      this.destroy()
    }
  }

  /** @throws RangeError when the frame breaks the protocol */
  #take({ channel, payload }: Frame): void {
    if (channel === CHANNEL.control) this.#control(payload)
    else if (channel !== CHANNEL.stdin) throw new RangeError(`a client cannot send on channel ${channel}`)
    else if (this.#input.ended) throw new RangeError('stdin was ended before')
    else if (payload.length === 0) this.#input.end()
    else if (!this.#input.take(payload)) this.#socket.pause()
  }

  #control(payload: Buffer): void {
    const message = this.#check(parseControl(payload))
    for (const listener of this.#listeners) listener(message)
    if (this.#listeners.size === 0 && this.#early.length < MAX_EARLY) this.#early.push(message)
  }
}

/** @throws RangeError when it cannot be a control message */
function parseControl(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) throw new RangeError('a control message is not JSON')
    throw error
  }
}

/** Resolves when what was written until now is sent, or never will be. */
function isSent(output: Writable): Promise<void> {
  if (output.writableEnded || output.destroyed) return isOver(output)
  return new Promise((resolve) => {
    output.write(Buffer.alloc(0), () => resolve())
  })
}

/** Resolves when everything was written, or never will be. */
function isOver(output: Writable): Promise<void> {
  if (output.writableFinished || output.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    output.once('finish', resolve)
    output.once('close', resolve)
  })
}
