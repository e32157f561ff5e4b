import type { Duplex, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError, isEngineError } from '../engine.ts'
import type { ApiRequest, DockerClient } from './docker.ts'
import { toEngineError } from './error.ts'

/** How long a call waits for a service that is being restarted, in milliseconds. */
const PATIENCE_MS = 8000

/** Time between two attempts, in milliseconds. */
const RETRY_MS = 100

/** How often a connection may break until it is no restart of the service, which breaks each once. */
const MAX_LOSSES = 5

/** When podman counts as silent. */
export interface SilenceLimits {
  /** How long a call waits until podman is asked whether it is still there, in milliseconds. */
  readonly quietMs: number
  /** How long podman may take to say so, in milliseconds. Whatever it is busy with, it takes a few. */
  readonly answerMs: number
}

const SILENCE: SilenceLimits = { quietMs: 1000, answerMs: 6000 }

const PING: ApiRequest = { method: 'GET', path: '/_ping', ok: [200] }

/** A request and what it means. */
export interface ApiCall extends ApiRequest {
  /** The operation and its object, for messages: `start container x`. */
  readonly what: string
  /**
   * Whether making it twice is as good as once. Such a call is repeated when its connection breaks; any call is
   * repeated when no connection could be made.
   */
  readonly repeatable: boolean
  /** Whether podman answers it at once, so that silence for a minute means that it hangs. */
  readonly short?: boolean
}

/**
 * Podman's API with our errors and our patience. Rejects with an EngineError or the reason of the signal.
 *
 * How long a call takes is podman's affair; but when podman as a whole falls silent, what waits for it ends with
 * `connection_lost`. Uploads do not: whoever makes them sees them move.
 */
export class PodmanApi {
  readonly #docker: DockerClient
  readonly #patienceMs: number
  readonly #silence: SilenceLimits
  /** The question that is open, shared by all that wait. */
  #question: Promise<boolean> | undefined

  /** @param patienceMs how long to wait for a service that does not answer */
  constructor(docker: DockerClient, patienceMs = PATIENCE_MS, silence = SILENCE) {
    this.#docker = docker
    this.#silence = silence
    this.#patienceMs = patienceMs
  }

  /** Makes a call; the answer is whatever podman sent, to be parsed by the caller. */
  call(call: ApiCall, signal?: AbortSignal): Promise<unknown> {
    const options = { short: call.short ?? false }
    return this.#attempt(call, (either) => this.#docker.call(call, options, either), signal)
  }

  /** Makes a call whose answer is a stream of lines. Never repeated once it was sent. */
  stream(call: ApiCall, signal?: AbortSignal): Promise<Readable> {
    return this.#attempt(call, (either) => this.#docker.stream(call, either), signal)
  }

  /** Makes a call that takes its connection over. Never repeated once it was sent. */
  hijack(call: ApiCall, signal?: AbortSignal): Promise<Duplex> {
    return this.#attempt(call, (either) => this.#docker.hijack(call, either), signal)
  }

  /** Makes one attempt, without patience: for asking whether anybody is there. */
  async ask(call: ApiCall, signal?: AbortSignal): Promise<unknown> {
    try {
      return await this.#docker.call(call, { short: call.short ?? false }, signal)
    } catch (error) {
      signal?.throwIfAborted()
      throw toEngineError(error, call.what)
    }
  }

  async #attempt<T>(call: ApiCall, make: Attempt<T>, signal: AbortSignal | undefined): Promise<T> {
    const deadline = performance.now() + this.#patienceMs
    for (let losses = 0; ; ) {
      signal?.throwIfAborted()
      try {
        return await (call.upload === undefined ? this.#guarded(call, make, signal) : make(signal))
      } catch (error) {
        signal?.throwIfAborted()
        // Whoever looks after the service knows that there is none, and that none is about to come back.
        if (isEngineError(error)) throw error
        const failure = toEngineError(error, call.what)
        if (isEngineError(failure, 'connection_lost')) losses += 1
        const isOver = performance.now() > deadline || losses > MAX_LOSSES
        if (!isWorthRepeating(failure, call) || isOver) throw failure
      }
      await sleep(RETRY_MS)
    }
  }

  /** Makes an attempt that ends when podman falls silent before it has answered. */
  async #guarded<T>(call: ApiCall, make: Attempt<T>, signal: AbortSignal | undefined): Promise<T> {
    const silence = new AbortController()
    const answered = new AbortController()
    void this.#watch(answered.signal, () => silence.abort())
    try {
      return await make(signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]))
    } catch (error) {
      if (!silence.signal.aborted) throw error
      throw new EngineError('connection_lost', `podman no longer answers: ${call.what}`, { cause: error })
    } finally {
      answered.abort()
    }
  }

  async #watch(answered: AbortSignal, onSilence: () => void): Promise<void> {
    while (!answered.aborted) {
      await sleep(this.#silence.quietMs, undefined, { signal: answered, ref: false }).catch(onlyAborted)
      if (answered.aborted) return
      this.#question ??= this.#isSilent().finally(() => {
        this.#question = undefined
      })
      if (await this.#question) onSilence()
    }
  }

  /** A service that refuses or breaks connections is not silent: what waits for it learns of that by itself. */
  async #isSilent(): Promise<boolean> {
    const limit = AbortSignal.timeout(this.#silence.answerMs)
    try {
      await this.#docker.call(PING, { short: true }, limit)
      return false
    } catch {
      return limit.aborted
    }
  }
}

type Attempt<T> = (signal: AbortSignal | undefined) => Promise<T>

function onlyAborted(error: unknown): void {
  if (!(error instanceof Error && error.name === 'AbortError')) throw error
}

function isWorthRepeating(failure: EngineError, call: ApiCall): boolean {
  // The first attempt has begun to read an upload.
  if (call.upload !== undefined) return false
  return isEngineError(failure, 'unavailable') || (call.repeatable && isEngineError(failure, 'connection_lost'))
}
