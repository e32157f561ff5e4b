import type { Socket } from 'node:net'
import { LoopatError } from '@loopatd/protocol'
import { AbstractMessageReader, type DataCallback, type Disposable, type Message } from 'vscode-jsonrpc/node'
import type { ByteGuard } from './byte-guard.ts'
import { parseMessage } from './message-check.ts'

/** What a reader reads from, and how. */
export interface GuardedReaderOptions {
  readonly socket: Socket
  readonly guard: ByteGuard
  /** Milliseconds until a message that has begun must be complete. */
  readonly frameMs: number
  /** Sees each message before the connection does. @throws to refuse it, and all that follow */
  readonly accept: (message: Message) => void
}

/**
 * Reads messages from a client through a {@link ByteGuard}, one per turn of the event loop and no more from the socket
 * before those are handed over: a client that floods waits for its own messages, and others get their turns. Handing
 * over one at a time also keeps the library's queue at one message; it drops one of two that have the same id.
 *
 * After the first error nothing is handed over any more; what still comes is read and dropped, one piece a turn.
 */
export class GuardedReader extends AbstractMessageReader {
  readonly #options: GuardedReaderOptions
  #callback: DataCallback | undefined
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: GuardedReaderOptions) {
    super()
    this.#options = options
  }

  listen(callback: DataCallback): Disposable {
    const { socket, guard } = this.#options
    this.#callback = callback
    const onData = (chunk: Buffer) => {
      socket.pause()
      if (this.#stopped) {
        setImmediate(() => socket.resume())
        return
      }
      guard.push(chunk)
      this.#pump()
    }
    socket.on('data', onData)
    socket.once('close', () => this.stop())
    this.#pump()
    return { dispose: () => this.stop() }
  }

  /** Hands over nothing more; what still comes is read and dropped, so that the client is not blocked. Idempotent. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    this.#options.guard.clear()
    this.#options.socket.resume()
  }

  override dispose(): void {
    this.stop()
    super.dispose()
  }

  #pump(): void {
    if (this.#stopped) return
    let body: Buffer | undefined
    try {
      body = this.#options.guard.next()
      if (body !== undefined) this.#handOver(parseMessage(body))
    } catch (error) {
      this.stop()
      this.fireError(error)
      return
    }
    if (body !== undefined) setImmediate(() => this.#pump())
    else this.#wait()
  }

  #handOver(message: Message): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#options.accept(message)
    this.#callback?.(message)
  }

  /** Reads on, and starts the clock for a message that has begun. */
  #wait(): void {
    const { guard, socket, frameMs } = this.#options
    if (guard.isPartial) this.#timer ??= setTimeout(() => this.#tooSlow(), frameMs).unref()
    socket.resume()
  }

  #tooSlow(): void {
    this.stop()
    const rule = `a message was not complete within ${this.#options.frameMs} ms`
    this.fireError(new LoopatError('protocol_error', rule, { next: 'Send each message whole.' }))
  }
}
