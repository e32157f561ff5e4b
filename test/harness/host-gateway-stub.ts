import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { CHANNEL, type Channel, encodeFrame, type Frame, FrameDecoder } from '@loopatd/protocol/frame'
import { type Deferred, deferred } from '../../daemon/lib/deferred.ts'

/** What a forwarder asks for. */
export interface StubRequest {
  readonly cwd: string
  readonly size: string
  readonly variables: readonly string[]
  readonly argv: readonly Buffer[]
}

/** One forwarder that has connected, as the daemon sees it: it does what the test says and nothing by itself. */
export class StubCall {
  readonly request: StubRequest
  /** What is sent on stdin. */
  readonly stdin = new PassThrough()
  /** Ends with the connection. */
  readonly closed: Promise<void>
  /** Bytes of stdin that came, read or not. */
  bytesIn = 0
  readonly #socket: Socket
  readonly #messages: unknown[] = []
  readonly #waiting: Deferred<unknown>[] = []

  constructor(socket: Socket, payload: Buffer) {
    this.request = parseRequest(payload)
    this.#socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.once('close', () => this.stdin.end())
  }

  /** Takes a frame that came. */
  take({ channel, payload }: Frame): void {
    if (channel === CHANNEL.control) this.#told(JSON.parse(payload.toString()))
    else if (channel !== CHANNEL.stdin) throw new Error(`stdin on channel ${channel}`)
    else if (payload.length === 0) this.stdin.end()
    else {
      this.bytesIn += payload.length
      this.stdin.write(payload)
    }
  }

  #told(message: unknown): void {
    const first = this.#waiting.shift()
    if (first === undefined) this.#messages.push(message)
    else first.resolve(message)
  }

  /** The next control message. */
  async message(): Promise<unknown> {
    if (this.#messages.length > 0) return this.#messages.shift()
    const next = deferred<unknown>()
    this.#waiting.push(next)
    return await next.promise
  }

  /** Says that the command runs. */
  started(): void {
    this.control('{"type":"started"}')
  }

  /** Gives back so many bytes of the window. */
  ack(bytes: number): void {
    this.control(`{"type":"ack","bytes":${bytes}}`)
  }

  /** Says that the command has ended, and that is all. */
  exit(code: number): void {
    this.control(`{"type":"exit","code":${code}}`)
    this.#socket.end()
  }

  /** Sends a control message as it is. */
  control(text: string): void {
    void this.write(encodeFrame(CHANNEL.control, Buffer.from(text)))
  }

  /** Sends output; an empty one ends it. @returns when there is room for more */
  async send(channel: Channel, payload: string | Uint8Array): Promise<void> {
    await this.write(encodeFrame(channel, Buffer.from(payload)))
  }

  /** Sends bytes as they are. @returns when there is room for more */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socket.write(bytes, () => resolve()))
  }

  /** Ends the connection without a word. */
  end(): void {
    this.#socket.destroy()
  }

  /** Reads all of stdin, with acknowledgements. */
  async readAll(): Promise<Buffer> {
    const chunks: Buffer[] = []
    for await (const chunk of this.stdin as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      this.ack(chunk.length)
    }
    return Buffer.concat(chunks)
  }
}

function parseRequest(payload: Buffer): StubRequest {
  const fields: Buffer[] = []
  for (let at = 0; at <= payload.length; ) {
    const end = payload.indexOf(0, at)
    fields.push(payload.subarray(at, end < 0 ? payload.length : end))
    at = end < 0 ? payload.length + 1 : end + 1
  }
  const [run, version, cwd = '', size = '', ...rest] = fields.map((field) => field.toString())
  if (run !== 'run' || version !== '1') throw new Error(`not a request: ${fields.slice(0, 2).join(' ')}`)
  const gap = rest.indexOf('')
  return { cwd, size, variables: rest.slice(0, gap), argv: fields.slice(4 + gap + 1) }
}

/** What the daemon is to a forwarder: a socket in a directory of its own. */
export class HostGatewayStub implements AsyncDisposable {
  readonly directory: string
  readonly #sockets = new Set<Socket>()
  readonly #calls: StubCall[] = []
  readonly #waiting: Deferred<StubCall>[] = []
  #server: Server | undefined

  private constructor(directory: string) {
    this.directory = directory
  }

  /** Makes the directory; nobody listens yet. */
  static async make(): Promise<HostGatewayStub> {
    return new HostGatewayStub(await mkdtemp(join(tmpdir(), 'loopat-gateway-')))
  }

  get path(): string {
    return join(this.directory, 'host.sock')
  }

  /** Listens, in the place of whoever did. */
  async listen(): Promise<void> {
    await rm(this.path, { force: true })
    const server = createServer((socket) => this.#accept(socket))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.path, resolve)
    })
  }

  /** The next forwarder that has asked for something. */
  async call(): Promise<StubCall> {
    const first = this.#calls.shift()
    if (first !== undefined) return first
    const next = deferred<StubCall>()
    this.#waiting.push(next)
    return await next.promise
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    // Forwarders that break off are what some tests are about.
    socket.on('error', () => undefined)
    const decoder = new FrameDecoder()
    let call: StubCall | undefined
    socket.on('data', (chunk) => {
      for (const frame of decoder.push(chunk)) {
        if (call === undefined) {
          call = new StubCall(socket, frame.payload)
          this.#came(call)
        } else call.take(frame)
      }
    })
  }

  #came(call: StubCall): void {
    const first = this.#waiting.shift()
    if (first === undefined) this.#calls.push(call)
    else first.resolve(call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    const server = this.#server
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()))
    await rm(this.directory, { recursive: true, force: true })
  }
}
