/** A client that is free to misbehave: it writes any bytes and sees what comes back. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** A message as it came. */
export interface WireMessage {
  readonly id?: string | number | null
  readonly method?: string
  readonly params?: Record<string, unknown>
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string; readonly data: Record<string, unknown> }
}

/** Writes a message as a well-behaved client would. */
export function frameText(body: string): Buffer {
  return Buffer.from(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}

/** One connection. Messages are kept until they are asked for. */
export class Peer implements AsyncDisposable {
  readonly socket: Socket
  readonly #messages: WireMessage[] = []
  readonly #waiting: ((message: WireMessage | undefined) => void)[] = []
  #buffer = Buffer.alloc(0)
  #over = false
  #nextId = 1

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', () => undefined)
    socket.once('close', () => {
      this.#over = true
      for (const waiter of this.#waiting.splice(0)) waiter(undefined)
    })
  }

  static async connect(path: string): Promise<Peer> {
    const socket = connect(path)
    await once(socket, 'connect')
    return new Peer(socket)
  }

  /** Connects and shakes hands. */
  static async initialized(path: string): Promise<Peer> {
    const peer = await Peer.connect(path)
    await peer.request('initialize', { protocolVersion: 1, client: { name: 'peer', version: '0' } })
    return peer
  }

  /** Whether the daemon has ended the connection. */
  get over(): boolean {
    return this.#over
  }

  write(bytes: string | Buffer): void {
    this.socket.write(bytes)
  }

  send(message: unknown): void {
    this.write(frameText(JSON.stringify(message)))
  }

  /** Sends a request and waits for the message with its id; others that come meanwhile are dropped. */
  async request(method: string, params?: unknown, id: string | number = this.#nextId++): Promise<WireMessage> {
    this.send({ jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) })
    return await this.answer(id)
  }

  async answer(id: string | number): Promise<WireMessage> {
    for (;;) {
      const message = await this.next()
      if (message === undefined) throw new Error(`the connection ended before ${id} was answered`)
      if (message.id === id) return message
    }
  }

  /** The next message, or undefined when the connection is over. */
  next(): Promise<WireMessage | undefined> {
    const message = this.#messages.shift()
    if (message !== undefined || this.#over) return Promise.resolve(message)
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Resolves when the daemon has ended the connection. */
  async closed(): Promise<void> {
    if (!this.#over) await once(this.socket, 'close')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
    await this.closed()
  }

  #receive(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk])
    for (;;) {
      const end = this.#buffer.indexOf('\r\n\r\n')
      if (end < 0) return
      const length = Number(/Content-Length: (\d+)/.exec(this.#buffer.toString('latin1', 0, end))?.[1])
      if (this.#buffer.length < end + 4 + length) return
      const message: WireMessage = JSON.parse(this.#buffer.toString('utf8', end + 4, end + 4 + length))
      this.#buffer = this.#buffer.subarray(end + 4 + length)
      const waiter = this.#waiting.shift()
      if (waiter === undefined) this.#messages.push(message)
      else waiter(message)
    }
  }
}
