import type { Duplex, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type EngineError, isEngineError } from '../engine.ts'
import type { ApiRequest, DockerClient } from './docker.ts'
import { toEngineError } from './error.ts'

/** How long a call waits for a service that is being restarted, in milliseconds. */
const PATIENCE_MS = 10_000

/** Time between two attempts, in milliseconds. */
const RETRY_MS = 100

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

/** Podman's API with our errors and our patience. Rejects with an EngineError or the reason of the signal. */
export class PodmanApi {
  readonly #docker: DockerClient
  readonly #patienceMs: number

  /** @param patienceMs how long to wait for a service that does not answer */
  constructor(docker: DockerClient, patienceMs = PATIENCE_MS) {
    this.#docker = docker
    this.#patienceMs = patienceMs
  }

  /** Makes a call; the answer is whatever podman sent, to be parsed by the caller. */
  call(call: ApiCall, signal?: AbortSignal): Promise<unknown> {
    const options = { short: call.short ?? false }
    return this.#attempt(call, () => this.#docker.call(call, options, signal), signal)
  }

  /** Makes a call whose answer is a stream of lines. Never repeated once it was sent. */
  stream(call: ApiCall, signal?: AbortSignal): Promise<Readable> {
    return this.#attempt(call, () => this.#docker.stream(call, signal), signal)
  }

  /** Makes a call that takes its connection over. Never repeated once it was sent. */
  hijack(call: ApiCall, signal?: AbortSignal): Promise<Duplex> {
    return this.#attempt(call, () => this.#docker.hijack(call, signal), signal)
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

  async #attempt<T>(call: ApiCall, make: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const deadline = performance.now() + this.#patienceMs
    for (;;) {
      signal?.throwIfAborted()
      try {
        return await make()
      } catch (error) {
        signal?.throwIfAborted()
        // Whoever looks after the service knows that there is none, and that none is about to come back.
        if (isEngineError(error)) throw error
        const failure = toEngineError(error, call.what)
        if (!isWorthRepeating(failure, call) || performance.now() > deadline) throw failure
      }
      await sleep(RETRY_MS)
    }
  }
}

function isWorthRepeating(failure: EngineError, call: ApiCall): boolean {
  // The first attempt has begun to read an upload.
  if (call.upload !== undefined) return false
  return isEngineError(failure, 'unavailable') || (call.repeatable && isEngineError(failure, 'connection_lost'))
}
