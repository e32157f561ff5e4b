import { randomBytes, randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { ExecControl, LoopatError, type ResultOf, STREAM_TOKEN_MS } from '@loopatd/protocol'
import { abortable } from '../lib/abort.ts'
import { RawStream } from '../lib/raw-stream.ts'

/** A stream of a command in a loop. */
export type ExecStream = RawStream<ExecControl>

/** Bytes of randomness in a token. */
const TOKEN_BYTES = 32

/** A stream from its request to its end. */
interface Entry {
  readonly id: string
  readonly session: string
  readonly token: string
  readonly connected: Promise<ExecStream>
  /** Settles {@link connected}. */
  readonly settle: (outcome: ExecStream | LoopatError) => void
  readonly timer: NodeJS.Timeout
  stream: ExecStream | undefined
  claimed: boolean
}

/** How many streams a connection may have, and how long their tokens wait. */
export interface StreamRegisterOptions {
  readonly maxPerSession: number
  /** Milliseconds; default: what the contract says. */
  readonly tokenMs?: number
}

function invalid(rule: string): LoopatError {
  return new LoopatError('stream_invalid', rule, {
    next: 'Open a stream with stream/open and connect it before it is used.',
  })
}

/** @throws RangeError when it is no control message of a command */
function checkControl(value: unknown): ExecControl {
  const result = ExecControl.safeParse(value)
  if (!result.success) throw new RangeError('a control message has an unknown form')
  return result.data
}

/**
 * Brings raw streams to the requests they belong to. A token is good for one connection; a stream is good for one
 * request of the connection that asked for it, and ends with that connection.
 */
export class StreamRegister {
  readonly #byId = new Map<string, Entry>()
  readonly #byToken = new Map<string, Entry>()
  readonly #maxPerSession: number
  readonly #tokenMs: number

  constructor({ maxPerSession, tokenMs = STREAM_TOKEN_MS }: StreamRegisterOptions) {
    this.#maxPerSession = maxPerSession
    this.#tokenMs = tokenMs
  }

  /** Expects a stream. @throws LoopatError `too_many_requests` */
  open(session: string): ResultOf<'stream/open'> {
    const count = [...this.#byId.values()].filter((entry) => entry.session === session).length
    if (count >= this.#maxPerSession) {
      throw new LoopatError('too_many_requests', `a connection may have ${this.#maxPerSession} streams at once`, {
        next: 'Wait for one to end, or use another connection.',
      })
    }
    const entry = this.#add(session)
    return { stream: entry.id, token: entry.token, expiresMs: this.#tokenMs }
  }

  /**
   * Takes a connection that began with a token.
   * @param head bytes that came behind the token
   * @returns false when the token is unknown, used or expired; the connection is then the caller's to end
   */
  connect(token: string, socket: Socket, head: Buffer): boolean {
    const entry = this.#byToken.get(token)
    if (entry === undefined) return false
    this.#byToken.delete(token)
    clearTimeout(entry.timer)
    const stream = new RawStream(socket, head, checkControl)
    entry.stream = stream
    void stream.closed.then(() => this.#byId.delete(entry.id))
    entry.settle(stream)
    return true
  }

  /**
   * Gives a stream to a request, waiting for its connection.
   * @throws LoopatError `stream_invalid` when it is unknown, another connection's, in use, or never connected
   */
  async claim(session: string, id: string, signal: AbortSignal): Promise<ExecStream> {
    const entry = this.#byId.get(id)
    // Whether a stream exists is nobody's business but its owner's.
    if (entry === undefined || entry.session !== session) throw invalid(`there is no stream "${id}"`)
    if (entry.claimed) throw invalid(`stream "${id}" is in use by another request`)
    entry.claimed = true
    const stream = await abortable(entry.connected, signal)
    stream.limitTo(signal)
    return stream
  }

  /** Ends all streams of a connection. */
  endSession(session: string): void {
    for (const entry of [...this.#byId.values()]) {
      if (entry.session !== session) continue
      if (entry.stream === undefined) this.#drop(entry, 'was closed with its connection')
      else entry.stream.destroy()
    }
  }

  #add(session: string): Entry {
    let settle: Entry['settle'] = () => undefined
    const connected = new Promise<ExecStream>((resolve, reject) => {
      settle = (outcome) => (outcome instanceof RawStream ? resolve(outcome) : reject(outcome))
    })
    // A stream that nobody waits for may fail to come without anybody being told.
    connected.catch(() => undefined)
    const entry: Entry = {
      id: randomUUID(),
      session,
      token: randomBytes(TOKEN_BYTES).toString('hex'),
      connected,
      settle,
      timer: setTimeout(() => this.#drop(entry, `was not connected within ${this.#tokenMs} ms`), this.#tokenMs).unref(),
      stream: undefined,
      claimed: false,
    }
    this.#byId.set(entry.id, entry)
    this.#byToken.set(entry.token, entry)
    return entry
  }

  #drop(entry: Entry, why: string): void {
    clearTimeout(entry.timer)
    this.#byId.delete(entry.id)
    this.#byToken.delete(entry.token)
    entry.settle(invalid(`stream "${entry.id}" ${why}`))
  }
}
