/** The daemon's front door: accepts connections, finds out what they are, and lets them end in order. */
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net'
import { LoopatError } from '@loopatd/protocol'
import { type Clock, systemClock } from '../lib/clock.ts'
import type { Listening } from '../lib/private-socket.ts'
import type { Logger } from '../log.ts'
import { Discovery } from './discovery.ts'
import type { EventHub } from './event-hub.ts'
import { LimitedLog } from './limited-log.ts'
import { DEFAULT_LIMITS, type ServerLimits } from './limits.ts'
import { encodeMessage } from './message-writer.ts'
import { callRoll } from './presence.ts'
import { Roster } from './roster.ts'
import type { Services } from './services.ts'
import { daemonStopping, Session, type SessionContext } from './session.ts'
import { sniff } from './sniff.ts'
import { type ListenTarget, listenOn } from './socket.ts'
import { StreamRegister } from './stream-register.ts'
import { toWire } from './wire-error.ts'

/** Milliseconds that cancelled requests may take to clean up when the server closes. */
const CLEANUP_MS = 5000
/** Connections beyond the limit that are told so; more are closed without a word. */
const TURNED_AWAY = 32

/** What a server is made of. */
export interface ServerOptions {
  readonly services: Services
  readonly hub: EventHub
  /** Name of the workspace, told in the handshake. */
  readonly workspace: string
  /** Version of the daemon, told in the handshake. */
  readonly version: string
  readonly log: Logger
  /** Default: {@link DEFAULT_LIMITS}. */
  readonly limits?: Partial<ServerLimits>
  /** Check results against the contract before they are sent; for tests. */
  readonly checkResults?: boolean
  /** Default: the clock of this machine. */
  readonly clock?: Clock
  /** Milliseconds that a stream token is good for; default: what the contract says. */
  readonly tokenMs?: number
}

/** A server; see {@link createServer}. */
export interface Server {
  /**
   * Listens; the caller has prepared the directory and holds the workspace's lock.
   * @throws LoopatError `config_invalid`, `storage_failed`
   */
  listen(target: ListenTarget): Promise<void>
  /**
   * Accepts nothing more, waits until requests in flight are answered, cancels the rest, ends all connections. New
   * requests are answered with `daemon_stopping` meanwhile. Idempotent.
   * @param deadlineMs milliseconds to wait before the rest is cancelled
   */
  close(deadlineMs: number): Promise<void>
  /** Open connections, raw streams included. */
  readonly connections: number
}

/** Makes a server that does not listen yet. */
export function createServer(options: ServerOptions): Server {
  return new SocketServer(options)
}

class SocketServer implements Server {
  readonly #context: SessionContext
  readonly #server: NetServer
  readonly #sockets = new Roster<Socket>()
  readonly #sessions = new Roster<Session>()
  readonly #clock: Clock
  /** Ends looking who is there. */
  readonly #over = new AbortController()
  #listening: Listening | undefined
  #closing: Promise<void> | undefined

  constructor({ tokenMs, checkResults = false, clock = systemClock, ...options }: ServerOptions) {
    this.#clock = clock
    const limits = { ...DEFAULT_LIMITS, ...options.limits }
    const streams = new StreamRegister({
      maxPerSession: limits.maxStreams,
      ...(tokenMs === undefined ? {} : { tokenMs }),
    })
    const log = new LimitedLog(options.log)
    this.#context = { ...options, limits, log, streams, checkResults, discovery: new Discovery() }
    // Half-open, so that what is queued for a client that hung up is still sent.
    this.#server = createNetServer({ allowHalfOpen: true }, (socket) => this.#connected(socket))
    this.#server.maxConnections = limits.maxConnections + TURNED_AWAY
  }

  get connections(): number {
    return this.#sockets.size
  }

  async listen(target: ListenTarget): Promise<void> {
    this.#listening = await listenOn(this.#server, target)
    void callRoll(this.#sessions, { clock: this.#clock, signal: this.#over.signal })
  }

  close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#drain(deadlineMs)
    return this.#closing
  }

  #connected(socket: Socket): void {
    socket.on('error', (error) => this.#context.log.debug({ err: error }, 'a connection failed'))
    if (this.#sockets.size >= this.#context.limits.maxConnections) {
      turnAway(socket, this.#context.limits.maxConnections)
      return
    }
    const leave = this.#sockets.add(socket)
    socket.once('close', () => {
      leave()
      setImmediate(forget, socket)
    })
    void this.#serve(socket)
  }

  async #serve(socket: Socket): Promise<void> {
    const { limits, log, streams } = this.#context
    const sniffed = await sniff(socket, limits.firstBytesMs)
    if (sniffed.kind === 'nothing') {
      log.debug({ reason: sniffed.reason }, 'a connection was dropped')
      socket.destroy()
    } else if (sniffed.kind === 'messages') {
      this.#open(socket, sniffed.head)
    } else if (!streams.connect(sniffed.token, socket, sniffed.head)) {
      log.debug({}, 'a raw stream came with a token that is not valid')
      socket.destroy()
    }
  }

  #open(socket: Socket, head: Buffer): void {
    const session = new Session(socket, head, this.#context)
    const leave = this.#sessions.add(session)
    // What a vanished client asked for still cleans up; the daemon must not exit in the middle of that.
    void session.closed.then(() => session.drain()).then(leave)
    if (this.#closing !== undefined) void session.drain()
  }

  async #drain(deadlineMs: number): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    this.#listening?.remove()
    const idle = Promise.all([...this.#sessions].map((session) => session.drain()))
    if (!(await inTime(idle, deadlineMs))) {
      for (const session of this.#sessions) session.abort(daemonStopping())
      if (!(await inTime(idle, CLEANUP_MS))) this.#context.log.warn({}, 'cancelled requests did not end in time')
    }
    await Promise.all([...this.#sessions].map((session) => session.close()))
    for (const socket of this.#sockets) socket.destroy()
    await stopped
    this.#over.abort()
    this.#context.log.flush()
  }
}

const ignore = () => undefined

/**
 * Takes everybody off a connection that is over. Node.js keeps a closed socket for longer than it is of use, and what
 * listens to it would be kept with it: a session and all that it holds.
 */
function forget(socket: Socket): void {
  socket.removeAllListeners()
  // Nothing is said after the end; if it were, it must not end the daemon.
  socket.on('error', ignore)
}

/** Says why, then hangs up. */
function turnAway(socket: Socket, limit: number): void {
  const error = new LoopatError('too_many_requests', `the daemon has ${limit} connections, as many as it may`, {
    next: 'Close other clients, or raise `daemon.max_connections` in config.toml.',
  })
  socket.end(encodeMessage({ jsonrpc: '2.0', id: null, error: toWire(error) }))
  socket.resume()
  socket.setTimeout(1000, () => socket.destroy())
}

/** Reports whether the promise settles within so many milliseconds. */
async function inTime(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms)
  })
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}
