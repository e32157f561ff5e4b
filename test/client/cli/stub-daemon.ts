import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CancellationToken, createMessageConnection, ResponseError } from 'vscode-jsonrpc/node'
import { ERRORS, LoopatError } from '../../../protocol/error.ts'
import { CHANNEL, encodeFrame, type Frame, FrameDecoder } from '../../../protocol/frame.ts'

/** The daemon's end of a raw stream. */
export class StubStream {
  readonly #socket: Socket
  readonly #listeners: ((frame: Frame) => void)[] = []
  readonly #early: Frame[] = []
  readonly ended: Promise<void>

  constructor(socket: Socket) {
    this.#socket = socket
    this.ended = new Promise((resolve) => socket.once('close', () => resolve()))
  }

  receive(frames: Frame[]): void {
    for (const frame of frames) {
      if (frame.channel === CHANNEL.stdin) this.#acknowledge(frame.payload.length)
      if (this.#listeners.length === 0) this.#early.push(frame)
      for (const listener of this.#listeners) listener(frame)
    }
  }

  /** The client sends no more than a window of what is not acknowledged. */
  #acknowledge(bytes: number): void {
    if (bytes > 0) this.#socket.write(encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify({ type: 'ack', bytes }))))
  }

  onFrame(listener: (frame: Frame) => void): void {
    this.#listeners.push(listener)
    for (const frame of this.#early.splice(0)) listener(frame)
  }

  /** Resolves with all of stdin when the client has ended it. */
  stdin(): Promise<Buffer> {
    const chunks: Buffer[] = []
    return new Promise((resolve) => {
      this.onFrame(({ channel, payload }) => {
        if (channel !== CHANNEL.stdin) return
        if (payload.length === 0) resolve(Buffer.concat(chunks))
        chunks.push(Buffer.from(payload))
      })
    })
  }

  /** Resolves with the next control message. */
  control(): Promise<unknown> {
    return new Promise((resolve) => {
      this.onFrame(({ channel, payload }) => {
        if (channel === CHANNEL.control) resolve(JSON.parse(payload.toString()))
      })
    })
  }

  send(channel: 'stdout' | 'stderr', text: string | Buffer): void {
    this.#socket.write(encodeFrame(CHANNEL[channel], Buffer.from(text)))
  }

  /** Ends both outputs and the connection, as the daemon does when a command is over. */
  end(): void {
    for (const channel of [CHANNEL.stdout, CHANNEL.stderr]) this.#socket.write(encodeFrame(channel, Buffer.alloc(0)))
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/** What a handler of the stub may use besides the params. */
export interface StubCall {
  readonly signal: AbortSignal
  progress(value: object): void
  notify(method: string, params: object): void
  /** The raw stream that the params name. */
  stream(): Promise<StubStream>
  /** Breaks the connection off. */
  disconnect(): void
}

export type StubHandler = (params: Record<string, unknown>, call: StubCall) => unknown

/** A daemon that answers as a test tells it to, on a real socket. */
export interface StubDaemon extends AsyncDisposable {
  readonly socket: string
  /** Every request that came, in order. */
  readonly calls: readonly { readonly method: string; readonly params: unknown }[]
  /** Sets the handler of a method. */
  on(method: string, handler: StubHandler): void
}

function toSignal(token: CancellationToken): AbortSignal {
  const controller = new AbortController()
  token.onCancellationRequested(() => controller.abort())
  return controller.signal
}

function toResponseError(error: unknown): unknown {
  if (!(error instanceof LoopatError)) return error
  const { code, message, next, details } = error
  return new ResponseError(ERRORS[code].number, message, { name: code, next, details })
}

class Stub implements StubDaemon {
  readonly socket: string
  readonly calls: { method: string; params: unknown }[] = []
  readonly #handlers = new Map<string, StubHandler>()
  readonly #sockets = new Set<Socket>()
  readonly #waiting = new Map<string, (stream: StubStream) => void>()
  readonly #streams = new Map<string, Promise<StubStream>>()
  readonly #server = createServer((socket) => this.#accept(socket))

  constructor(socket: string) {
    this.socket = socket
    this.on('initialize', () => ({
      protocolVersion: 1,
      server: { name: 'stub', version: '0.0.0' },
      workspace: 'stub',
      capabilities: ['loop/get', 'loop/list'],
    }))
    this.on('idle/list', () => ({ loops: [] }))
    this.on('stream/open', () => {
      const stream = `s${this.#streams.size}`
      this.#streams.set(stream, new Promise((resolve) => this.#waiting.set(stream, resolve)))
      return { stream, token: stream, expiresMs: 10_000 }
    })
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.socket, resolve))
  }

  on(method: string, handler: StubHandler): void {
    this.#handlers.set(method, handler)
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.once('data', (first) => {
      const token = /^STREAM (\S+)\n/.exec(first.toString('latin1'))?.[1]
      if (token === undefined) this.#speak(socket, first)
      else this.#carry(socket, { token, rest: first.subarray(`STREAM ${token}\n`.length) })
    })
  }

  #carry(socket: Socket, { token, rest }: { token: string; rest: Buffer }): void {
    const decoder = new FrameDecoder()
    const stream = new StubStream(socket)
    stream.receive(decoder.push(rest))
    socket.on('data', (chunk) => stream.receive(decoder.push(chunk)))
    this.#waiting.get(token)?.(stream)
  }

  #speak(socket: Socket, first: Buffer): void {
    socket.pause()
    socket.unshift(first)
    const connection = createMessageConnection(socket, socket)
    socket.once('close', () => connection.dispose())
    connection.onRequest(async (method: string, params: object | undefined, token: CancellationToken) => {
      const named: Record<string, unknown> = { ...params }
      this.calls.push({ method, params: named })
      const handler = this.#handlers.get(method)
      if (handler === undefined) {
        return toResponseError(new LoopatError('method_not_found', `there is no method ${method}`))
      }
      const call: StubCall = {
        signal: toSignal(token),
        progress: (value) => void connection.sendNotification('$/progress', { token: named.progressToken, value }),
        notify: (name, value) => void connection.sendNotification(name, value),
        stream: () => this.#streams.get(String(named.stream)) ?? Promise.reject(new Error('no such stream')),
        disconnect: () => socket.destroy(),
      }
      try {
        return await handler(named, call)
      } catch (error) {
        return toResponseError(error)
      }
    })
    connection.listen()
    socket.resume()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

/** Starts a stub in a directory of its own. */
export async function startStub(): Promise<StubDaemon> {
  const directory = await mkdtemp(join(tmpdir(), 'lc-'))
  const stub = new Stub(join(directory, 's.sock'))
  const dispose = stub[Symbol.asyncDispose].bind(stub)
  await stub.listen()
  return Object.assign(stub, {
    [Symbol.asyncDispose]: async () => {
      await dispose()
      await rm(directory, { recursive: true })
    },
  })
}
