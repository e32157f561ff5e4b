/** A socket between the daemon and podman on which things go wrong as a test wants. */
import { mkdtemp, rm } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Transform } from 'node:stream'

/** What goes wrong with a request. Unless it says otherwise, podman gets the request and acts on it. */
export type Fault =
  /** Podman hears of the request late. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** The connection is broken off after so many bytes of the request, its headers included, or of the answer. */
  | { readonly kind: 'reset'; readonly direction: 'request' | 'answer'; readonly bytes: number }
  /** The answer ends, in good order as far as the socket is concerned, after half of its body. */
  | { readonly kind: 'truncate' }
  /** The answer's body is a page of HTML, its status is podman's. */
  | { readonly kind: 'garble' }
  /** Podman never hears of it; the answer is HTTP 500. */
  | { readonly kind: 'refuse-500' }
  /** Podman never hears of it, and nobody answers. */
  | { readonly kind: 'half-open' }
  /** Podman never hears of it, and the connection is closed. */
  | { readonly kind: 'hang-up' }

/** Which requests a fault strikes: those whose `METHOD /path?query` matches. */
export interface FaultRule {
  readonly on: RegExp
  readonly fault: Fault
}

/** A running proxy. */
export interface FaultProxy extends AsyncDisposable {
  readonly socketPath: string
  /** `METHOD /path?query` of each request since the faults were last switched, with the fault that struck it. */
  readonly struck: readonly { readonly request: string; readonly fault: Fault['kind'] | undefined }[]
  /** Requests that come from now on meet these faults; the first rule that matches counts. No rule: no fault. */
  switch(...rules: FaultRule[]): void
  /** Cuts off all that is connected. */
  cut(): void
  /** Stops listening, so that connections are refused; what is connected goes on. */
  refuse(): void
  /** Listens again. */
  listen(): Promise<void>
}

/** More than podman's requests and answers ever have. */
const MAX_HEAD_BYTES = 65_536

const HTML = '<html><body>504 Gateway Time-out</body></html>\n'

/** Starts a proxy to a podman service. Disposal cuts off all that is connected. */
export async function startFaultProxy(podmanSocket: string): Promise<FaultProxy> {
  const directory = await mkdtemp(join(tmpdir(), 'loopat-fault-'))
  const socketPath = join(directory, 'podman.sock')
  const proxy = new SocketProxy(podmanSocket, socketPath)
  await proxy.listen()
  return {
    socketPath,
    get struck() {
      return proxy.struck
    },
    switch: (...rules) => proxy.switch(rules),
    cut: () => proxy.cut(),
    refuse: () => proxy.refuse(),
    listen: () => proxy.listen(),
    [Symbol.asyncDispose]: async () => {
      await proxy.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** One request per connection, as the daemon makes them. */
class SocketProxy {
  struck: { request: string; fault: Fault['kind'] | undefined }[] = []
  readonly #upstream: string
  readonly #path: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #rules: readonly FaultRule[] = []

  constructor(upstream: string, path: string) {
    this.#upstream = upstream
    this.#path = path
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(this.#keep(socket)))
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#path, resolve)
    })
  }

  /** Node removes the socket's file as well. */
  refuse(): void {
    this.#server.close()
  }

  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.cut()
    return closed
  }

  switch(rules: readonly FaultRule[]): void {
    this.#rules = rules
    this.struck = []
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    // The other side is told by the end of its own connection.
    socket.on('error', () => undefined)
    return socket
  }

  #accept(client: Socket): void {
    let head = Buffer.alloc(0)
    const read = (chunk: Buffer) => {
      head = Buffer.concat([head, chunk])
      if (head.indexOf('\r\n\r\n') < 0 && head.length < MAX_HEAD_BYTES) return
      client.pause()
      client.off('data', read)
      this.#serve(client, head)
    }
    client.on('data', read)
  }

  #serve(client: Socket, head: Buffer): void {
    const request = /^(\S+ \S+) HTTP/.exec(head.toString('latin1'))?.[1] ?? ''
    const fault = this.#rules.find(({ on }) => on.test(request))?.fault
    this.struck.push({ request, fault: fault?.kind })
    if (fault?.kind === 'hang-up') client.destroy()
    else if (fault?.kind === 'half-open') client.resume()
    else if (fault?.kind === 'refuse-500') {
      client.resume()
      client.end(answerOf('500 Internal Server Error', '{"cause":"a fault","message":"a fault","response":500}'))
    } else if (fault?.kind === 'delay') setTimeout(() => this.#pass(client, head, fault), fault.ms)
    else this.#pass(client, head, fault)
  }

  #pass(client: Socket, head: Buffer, fault: Fault | undefined): void {
    if (client.destroyed) return
    const podman = this.#keep(createConnection({ path: this.#upstream, allowHalfOpen: true }))
    const cutBoth = () => {
      podman.destroy()
      client.destroy()
    }
    client.once('close', () => podman.destroy())
    podman.once('close', () => setImmediate(() => client.destroySoon()))
    const isReset = (direction: string) => fault?.kind === 'reset' && fault.direction === direction
    const limit = fault?.kind === 'reset' ? fault.bytes : 0
    client.unshift(head)
    if (isReset('request')) client.pipe(cutAfter(limit, cutBoth)).pipe(podman)
    else client.pipe(podman)
    if (isReset('answer')) podman.pipe(cutAfter(limit, cutBoth)).pipe(client)
    else if (fault?.kind === 'truncate' || fault?.kind === 'garble') spoil(podman, client, fault.kind)
    else podman.pipe(client)
  }
}

/** Passes so many bytes on; at the next one, or at the end if it comes first, calls `cut`. */
function cutAfter(bytes: number, cut: () => void): Transform {
  let left = bytes
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const piece = chunk.subarray(0, left)
      left -= piece.length
      if (piece.length > 0) this.push(piece)
      if (left === 0) setImmediate(cut)
      done()
    },
    flush: () => cut(),
  })
}

/** Waits for the whole answer, and passes on what is to be made of it. */
function spoil(podman: Socket, client: Socket, kind: 'truncate' | 'garble'): void {
  const chunks: Buffer[] = []
  podman.on('data', (chunk) => chunks.push(chunk))
  podman.on('end', () => {
    const answer = Buffer.concat(chunks)
    const end = answer.indexOf('\r\n\r\n') + 4
    const status = /^HTTP\/1\.1 (.*)\r\n/.exec(answer.toString('latin1', 0, end))?.[1] ?? '200 OK'
    if (kind === 'garble') client.end(answerOf(status, HTML))
    else client.end(answer.subarray(0, end + Math.floor((answer.length - end) / 2)))
  })
}

function answerOf(status: string, body: string): string {
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}`
  return `${head}\r\nConnection: close\r\n\r\n${body}`
}
