import type { Duplex, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type EngineError, isEngineError } from '../engine.ts'
import type { DockerClient } from './docker.ts'
import { toEngineError } from './error.ts'
import { LostCall, SILENCE, SilenceWatch, type SilentCall } from './silence.ts'

/** How long a call waits for a service that is being restarted, in milliseconds. */
const PATIENCE_MS = 8000

/** Time between two attempts, in milliseconds. */
const RETRY_MS = 100

/** How often a connection may break until it is no restart of the service, which breaks each once. */
const MAX_LOSSES = 5

/** A request and what it means. */
export interface ApiCall extends SilentCall {
  /**
   * Whether making it twice is as good as once. Such a call is repeated when its connection breaks; any call is
   * repeated when no connection could be made.
   */
  readonly repeatable: boolean
}

/**
 * Podman's API with our errors and our patience. Rejects with an EngineError or the reason of the signal.
 *
 * How long a call takes is podman's affair; but one that nobody works on, and everything when podman as a whole falls
 * silent, ends with `connection_lost`; see {@link SilenceWatch}.
 */
export class PodmanApi {
  readonly #docker: DockerClient
  readonly #patienceMs: number
  readonly #silence: SilenceWatch

  /** @param patienceMs how long to wait for a service that does not answer */
  constructor(docker: DockerClient, patienceMs = PATIENCE_MS, silence = SILENCE) {
    this.#docker = docker
    this.#silence = new SilenceWatch(docker, silence)
    this.#patienceMs = patienceMs
  }

  /** Makes a call; the answer is whatever podman sent, to be parsed by the caller. */
  call(call: ApiCall, signal?: AbortSignal): Promise<unknown> {
    return this.#attempt(call, (either) => this.#docker.call(call, either), signal)
  }

  /**
   * Makes a call whose answer is a stream of lines. Never repeated once it was answered. The stream breaks off when
   * podman falls silent as a whole.
   */
  async stream(call: ApiCall, signal?: AbortSignal): Promise<Readable> {
    const stream = await this.subscribe(call, signal)
    this.#silence.follow(stream, call.what)
    return stream
  }

  /** Makes a call whose answer is a stream of lines that comes when something happens, and goes on whatever podman does. */
  subscribe(call: ApiCall, signal?: AbortSignal): Promise<Readable> {
    return this.#attempt(call, (either) => this.#docker.stream(call, either), signal)
  }

  /** Makes a call that takes its connection over. Never repeated once it was sent. Breaks off like {@link PodmanApi.stream}. */
  async hijack(call: ApiCall, signal?: AbortSignal): Promise<Duplex> {
    const connection = await this.#attempt(call, (either) => this.#docker.hijack(call, either), signal)
    this.#silence.follow(connection, call.what)
    return connection
  }

  /** Makes one attempt, without patience: for asking whether anybody is there. */
  async ask(call: ApiCall, signal?: AbortSignal): Promise<unknown> {
    try {
      return await this.#silence.over(call, (either) => this.#docker.call(call, either), signal)
    } catch (error) {
      signal?.throwIfAborted()
      throw toEngineError(error, call.what)
    }
  }

  async #attempt<T>(call: ApiCall, make: Attempt<T>, signal: AbortSignal | undefined): Promise<T> {
    const deadline = performance.now() + this.#patienceMs
    let losses = 0
    for (let isLost = false; ; ) {
      signal?.throwIfAborted()
      try {
        return await this.#silence.over({ ...call, isRepeated: isLost }, make, signal)
      } catch (error) {
        signal?.throwIfAborted()
        if (error instanceof LostCall && call.repeatable && !isLost) {
          isLost = true
          continue
        }
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
}

type Attempt<T> = (signal: AbortSignal) => Promise<T>

function isWorthRepeating(failure: EngineError, call: ApiCall): boolean {
  // The first attempt has begun to read an upload.
  if (call.upload !== undefined) return false
  return isEngineError(failure, 'unavailable') || (call.repeatable && isEngineError(failure, 'connection_lost'))
}
