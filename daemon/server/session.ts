/** One client: its handshake, its requests in flight, its subscriptions, and its end. */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { type CheckedParamsOf, LOST_MS, LoopatError, METHODS, type MethodName, type ResultOf } from '@loopatd/protocol'
import {
  type CancellationToken,
  createMessageConnection,
  type Disposable,
  type Message,
  type MessageConnection,
  ResponseError,
} from 'vscode-jsonrpc/node'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import { ByteGuard } from './byte-guard.ts'
import type { Discovery } from './discovery.ts'
import type { EventFilter, EventHub, Subscription } from './event-hub.ts'
import { shakeHands } from './handshake.ts'
import type { LimitedLog } from './limited-log.ts'
import type { ServerLimits } from './limits.ts'
import { isAnswer, isRequest } from './message-check.ts'
import { GuardedReader } from './message-reader.ts'
import { BoundedWriter, encodeMessage } from './message-writer.ts'
import { checkParams } from './params-check.ts'
import { Presence } from './presence.ts'
import { ProgressSender } from './progress-sender.ts'
import { RequestSet } from './request-set.ts'
import { isRouted, type RouteSession, route } from './route.ts'
import type { Services } from './services.ts'
import type { ExecStream, StreamRegister } from './stream-register.ts'
import { toCatalogue, toWire } from './wire-error.ts'

/** Milliseconds that a client may take to read the last words of a connection that ends. */
const FAREWELL_MS = 500
/** A client with more queued bytes than this gets only the latest progress. */
const BEHIND_BYTES = 262_144

/** Asks whether the client is there. */
const PING = { jsonrpc: '2.0', id: 'ping', method: 'client/ping' }

const silent = { error: () => undefined, warn: () => undefined, info: () => undefined, log: () => undefined }

/** What all sessions of a server share. */
export interface SessionContext {
  readonly services: Services
  readonly discovery: Discovery
  readonly hub: EventHub
  readonly streams: StreamRegister
  readonly limits: ServerLimits
  readonly log: LimitedLog
  /** Name of the workspace. */
  readonly workspace: string
  /** Version of the daemon. */
  readonly version: string
  /** Check results against the contract, for tests. */
  readonly checkResults: boolean
}

/** A JSON-RPC connection. Whatever a client does wrong on the wire ends its own connection and nothing else. */
export class Session implements RouteSession {
  readonly id = randomUUID()
  /** Resolves when the connection is over. Never rejects. */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #context: SessionContext
  readonly #log: Logger
  readonly #connection: MessageConnection
  readonly #errors: Disposable
  readonly #reader: GuardedReader
  readonly #writer: BoundedWriter
  readonly #requests = new RequestSet()
  readonly #presence = new Presence()
  /** Ids of requests that are not answered. */
  readonly #ids = new Set<string | number>()
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #endListeners: (() => void)[] = []
  #initialized = false
  #stopping = false

  /** @param head bytes that were read from the socket before */
  constructor(socket: Socket, head: Buffer, context: SessionContext) {
    this.#socket = socket
    this.#context = context
    this.#log = context.log.child({ session: this.id })
    const { limits } = context
    const guard = new ByteGuard(limits.maxMessageBytes)
    guard.push(head)
    this.#reader = new GuardedReader({
      socket,
      guard,
      frameMs: limits.frameMs,
      accept: (message) => this.#accept(message),
    })
    this.#writer = new BoundedWriter({
      socket,
      maxQueuedBytes: limits.maxQueuedBytes,
      maxQueuedMessages: limits.maxQueuedMessages,
      onOverflow: () => this.#overflow(),
      onWritten: (message) => this.#answered(message),
      replace: (message, error) => this.#unsendable(message, error),
    })
    this.#connection = createMessageConnection(this.#reader, this.#writer, silent)
    this.#connection.onRequest((method, params, token) => this.#handle(method, params, token))
    this.#errors = this.#connection.onError(([error]) => this.#violation(error))
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#ended()
        resolve()
      })
    })
    // A client that hangs up is gone; what is queued for it is still sent.
    socket.once('end', () => this.#hungUp())
    socket.on('error', (error) => this.#log.debug({ err: error }, 'a connection failed'))
    this.#connection.listen()
  }

  onEnd(listener: () => void): void {
    if (this.#socket.destroyed) throw clientGone()
    this.#endListeners.push(listener)
  }

  openStream(): ResultOf<'stream/open'> {
    return this.#context.streams.open(this.id)
  }

  claimStream(id: string, signal: AbortSignal): Promise<ExecStream> {
    return this.#context.streams.claim(this.id, id, signal)
  }

  watch(): () => void {
    return this.#presence.watch()
  }

  setAway(isAway: boolean): void {
    this.#presence.setAway(isAway)
    this.#log.debug({ isAway }, 'a client says whether it is there')
  }

  /** Looks whether the client is still there; called again and again. */
  look(): void {
    const sight = this.#presence.look(this.#socket.bytesRead)
    if (sight === 'ask') void this.#writer.write(PING)
    if (sight !== 'gone' || !this.#socket.writable) return
    const reason = new LoopatError('cancelled', `the client gave no sign of life for ${LOST_MS / 1000} seconds`)
    this.#log.info({}, 'a client is stopped or hangs; its connection is closed')
    this.#dismiss(reason, reason)
  }

  subscribe(filter: EventFilter, since: string | undefined): ResultOf<'event/subscribe'> {
    // The loop that was named had to be looked up meanwhile.
    if (this.#socket.destroyed) throw clientGone()
    const { maxSubscriptions } = this.#context.limits
    if (this.#subscriptions.size >= maxSubscriptions) {
      throw new LoopatError('too_many_requests', `a connection may have ${maxSubscriptions} subscriptions`, {
        next: 'End one with event/unsubscribe.',
      })
    }
    const subscription = this.#context.hub.subscribe(filter, (kind, params) => void this.#notify(kind, params), since)
    this.#subscriptions.set(subscription.id, subscription)
    // The answer is written in this turn: it comes before all events.
    setImmediate(subscription.begin)
    const { id, cursor, gap } = subscription
    return { subscription: id, cursor, gap }
  }

  unsubscribe(id: string): void {
    this.#subscriptions.get(id)?.dispose()
    this.#subscriptions.delete(id)
  }

  /** Takes no new requests, and resolves when none is in flight, not even one whose client went away. */
  drain(): Promise<void> {
    this.#stopping = true
    return this.#requests.idle()
  }

  /** Cancels what is in flight. */
  abort(reason: LoopatError): void {
    this.#requests.abort(reason)
  }

  /** Sends what is queued and hangs up; resolves when the connection is over. Idempotent. */
  async close(): Promise<void> {
    this.#stopping = true
    this.#reader.stop()
    // Answers of requests that have just ended are written in this turn.
    setImmediate(() => this.#socket.end())
    const timer = setTimeout(() => this.#socket.destroy(), FAREWELL_MS).unref()
    await this.closed
    clearTimeout(timer)
  }

  async #handle(method: string, params: unknown, token: CancellationToken): Promise<unknown> {
    const request = this.#requests.begin()
    const cancel = () => request.cancel(new LoopatError('cancelled', `${method} was cancelled`))
    const listening = token.onCancellationRequested(cancel)
    if (token.isCancellationRequested) cancel()
    try {
      return await this.#answer(method, params, request.signal)
    } catch (error) {
      const { code, message, data } = toWire(toCatalogue(error, { method, signal: request.signal, log: this.#log }))
      throw new ResponseError(code, message, data)
    } finally {
      listening.dispose()
      request.end()
    }
  }

  async #answer(method: string, params: unknown, signal: AbortSignal): Promise<unknown> {
    this.#checkAllowed(method)
    signal.throwIfAborted()
    if (method === 'initialize') return this.#initialize(checkParams('initialize', params))
    if (!isRouted(method)) {
      throw new LoopatError('method_not_found', `there is no method ${JSON.stringify(method.slice(0, 64))}`, {
        next: '`loopctl rpc --discover` lists the methods.',
      })
    }
    const checked = checkParams(method, params)
    const progress = this.#progress(checked)
    const onProgress: OnProgress = (value) => progress?.report(value)
    try {
      const { services, discovery } = this.#context
      const result = await route(method, checked, { services, discovery, session: this, onProgress, signal })
      if (this.#context.checkResults) METHODS[method].result.parse(result)
      return result
    } finally {
      progress?.finish()
    }
  }

  /** @throws LoopatError when the connection may not send this request now */
  #checkAllowed(method: string): void {
    const { maxInFlight } = this.#context.limits
    if (this.#stopping) throw daemonStopping()
    if (this.#requests.size > maxInFlight) {
      throw new LoopatError('too_many_requests', `a connection may have ${maxInFlight} requests in flight`, {
        next: 'Wait for answers, or use another connection.',
      })
    }
    if (method === 'initialize' || this.#initialized) return
    throw new LoopatError('not_initialized', `${method.slice(0, 64)} came before initialize`, {
      next: 'Send initialize first.',
    })
  }

  #initialize(params: CheckedParamsOf<'initialize'>): ResultOf<'initialize'> {
    if (this.#initialized) throw new LoopatError('invalid_params', 'initialize was sent before on this connection')
    const agreed = shakeHands(params, this.#context)
    this.#initialized = true
    this.#log.debug({ client: params.client }, 'a client connected')
    return agreed
  }

  #progress(params: CheckedParamsOf<MethodName>): ProgressSender | undefined {
    if (!('progressToken' in params) || params.progressToken === undefined) return undefined
    const { progressToken: token } = params
    return new ProgressSender({
      isBehind: () => this.#writer.queuedBytes > BEHIND_BYTES,
      send: (value) => this.#notify('$/progress', { token, value }),
    })
  }

  /** Sends a notification; does nothing when nobody is there to read it. */
  async #notify(method: string, params: object): Promise<void> {
    if (this.#socket.writable) await this.#connection.sendNotification(method, params)
  }

  #accept(message: Message): void {
    if (isAnswer(message) && !this.#presence.answered()) {
      throw new LoopatError('protocol_error', 'not a valid message: it answers nothing that was asked', {
        next: 'Answer requests of the daemon one time.',
      })
    }
    if (!isRequest(message) || message.id === null) return
    if (this.#ids.has(message.id)) {
      throw new LoopatError('protocol_error', 'a request has the id of another one that is not answered yet', {
        next: 'Give each request an id of its own.',
      })
    }
    this.#ids.add(message.id)
  }

  #answered(message: Message): void {
    if (!isAnswer(message)) return
    const { id } = message as Message & { readonly id?: string | number }
    if (id !== undefined) this.#ids.delete(id)
  }

  /** An answer that cannot be written as JSON is a defect of a service. */
  #unsendable(message: Message, error: unknown): object {
    this.#log.error({ err: error }, 'an answer cannot be written as JSON')
    const wire = toWire(new LoopatError('internal', 'the answer cannot be sent; this is a defect of loopatd'))
    return { jsonrpc: message.jsonrpc, id: 'id' in message ? message.id : null, error: wire }
  }

  #overflow(): void {
    if (this.#socket.destroyed) return
    this.#log.warn({ queuedBytes: this.#writer.queuedBytes }, 'a client does not read; its connection is closed')
    this.#socket.destroy()
  }

  /** Says what is wrong, then hangs up. */
  #violation(error: Error): void {
    if (this.#socket.writableEnded) return
    const reason =
      error instanceof LoopatError ? error : new LoopatError('protocol_error', 'not a valid message', { cause: error })
    this.#log.warn({ err: reason }, 'a client broke the protocol; its connection is closed')
    this.#dismiss(reason, new LoopatError('cancelled', 'the connection was closed because of a protocol error'))
  }

  /** @param lastWords what the client is told @param reason why what it asked for is given up */
  #dismiss(lastWords: LoopatError, reason: LoopatError): void {
    if (this.#socket.writable) this.#socket.write(encodeMessage({ jsonrpc: '2.0', id: null, error: toWire(lastWords) }))
    this.abort(reason)
    void this.close()
  }

  #hungUp(): void {
    this.abort(clientGone())
    void this.close()
  }

  #ended(): void {
    this.abort(clientGone())
    for (const subscription of this.#subscriptions.values()) subscription.dispose()
    this.#subscriptions.clear()
    for (const listener of this.#endListeners.splice(0)) listener()
    this.#context.streams.endSession(this.id)
    this.#connection.dispose()
    // The library keeps this listener in a list that V8 may hold for old: the session would be garbage of the slow kind.
    this.#errors.dispose()
    this.#log.debug({}, 'a connection ended')
  }
}

function clientGone(): LoopatError {
  return new LoopatError('cancelled', 'the client went away')
}

/** The answer to requests that come, or are still in flight, while the daemon stops. */
export function daemonStopping(): LoopatError {
  return new LoopatError('daemon_stopping', 'the daemon is shutting down', {
    next: 'Try again in a moment; the next command starts it anew.',
  })
}
