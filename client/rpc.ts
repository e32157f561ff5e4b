/** One JSON-RPC connection to the daemon: requests, cancellation, progress, and an end that nobody has to wait for. */
import type { Socket } from 'node:net'
import type { Progress } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol/error'
import {
  CancellationTokenSource,
  createMessageConnection,
  type Disposable,
  type Message,
  type MessageConnection,
  ProgressType,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node'
import { connectionLost, fromWire, isConnectionFailure } from './wire-error.ts'

/** How a request may be followed and given up. */
export interface RequestOptions {
  /** Takes the progress of the request. Must not throw. Only for methods that report progress. */
  readonly onProgress?: ((progress: Progress) => void) | undefined
  /**
   * Asks the daemon to give up. The request then fails with `cancelled` once the daemon has cleaned up, or succeeds
   * when it was done already.
   */
  readonly signal?: AbortSignal | undefined
}

/** Takes a notification of the daemon. */
export type NotificationListener = (method: string, params: unknown) => void

const silent = { error: () => undefined, warn: () => undefined, info: () => undefined, log: () => undefined }
const progressType = new ProgressType<Progress>()

/** A connected socket that speaks JSON-RPC. Ends with the socket; all requests then fail with one catalogue error. */
export class RpcConnection {
  readonly #socket: Socket
  readonly #connection: MessageConnection
  readonly #listeners = new Set<NotificationListener>()
  readonly #closed: Promise<LoopatError>
  #reason: LoopatError | undefined
  #nextToken = 1

  constructor(socket: Socket) {
    this.#socket = socket
    this.#connection = createMessageConnection(
      new StreamMessageReader(socket),
      new StreamMessageWriter(socket),
      silent,
      {
        messageStrategy: {
          handleMessage: (message, next) => {
            this.#noteFarewell(message)
            return next(message)
          },
        },
      },
    )
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#reason ??= connectionLost()
        this.#connection.dispose()
        resolve(this.#reason)
      })
    })
    this.#connection.onError(([error]) => this.#fail(connectionLost(error)))
    this.#connection.onNotification((method, params) => {
      for (const listener of this.#listeners) listener(method, params)
    })
    this.#connection.listen()
  }

  /** Resolves with the reason when the connection is over, whoever ended it. */
  get closed(): Promise<LoopatError> {
    return this.#closed
  }

  /**
   * Sends a request and waits for its answer.
   * @throws LoopatError what the daemon answers, or `daemon_unreachable` when the connection goes away
   */
  async request(method: string, params: object, options: RequestOptions = {}): Promise<unknown> {
    const { signal, onProgress } = options
    if (signal?.aborted) throw new LoopatError('cancelled', `${method} was cancelled`, { cause: signal.reason })
    if (this.#reason !== undefined) throw this.#reason
    const cancellation = new CancellationTokenSource()
    const onAbort = () => cancellation.cancel()
    signal?.addEventListener('abort', onAbort, { once: true })
    const progress = this.#expectProgress(onProgress)
    try {
      return await this.#connection.sendRequest<unknown>(method, { ...params, ...progress?.param }, cancellation.token)
    } catch (error) {
      throw await this.#explain(error)
    } finally {
      signal?.removeEventListener('abort', onAbort)
      progress?.listener.dispose()
      cancellation.dispose()
    }
  }

  /** Calls the listener for each notification. @returns stops listening */
  onNotification(listener: NotificationListener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Ends the connection; requests in flight are cancelled by the daemon and fail here. Idempotent. */
  async close(): Promise<void> {
    this.#fail(new LoopatError('cancelled', 'the client was closed'))
    await this.#closed
  }

  #fail(reason: LoopatError): void {
    this.#reason ??= reason
    this.#socket.destroy()
  }

  #expectProgress(onProgress: RequestOptions['onProgress']): { param: object; listener: Disposable } | undefined {
    if (onProgress === undefined) return undefined
    const progressToken = this.#nextToken++
    return {
      param: { progressToken },
      listener: this.#connection.onProgress(progressType, progressToken, onProgress),
    }
  }

  /** An error without an id is the daemon's last word before it closes the connection. */
  #noteFarewell(message: Message): void {
    if (!('id' in message) || message.id !== null || !('error' in message)) return
    const { error } = message
    if (error instanceof Object && 'code' in error && 'message' in error && typeof error.message === 'string') {
      this.#reason ??= fromWire({ code: error.code, message: error.message, data: 'data' in error ? error.data : null })
    }
  }

  async #explain(error: unknown): Promise<LoopatError> {
    if (!(error instanceof ResponseError)) return connectionLost(error)
    if (!isConnectionFailure(error)) return fromWire(error)
    // The daemon may have said why before it hung up; its words are read before the close is seen.
    return await this.#closed
  }
}
