import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError } from '../engine.ts'
import type { ApiRequest, DockerClient } from './docker.ts'
import { StoreLock } from './store-lock.ts'

/** When a call that has no answer counts as lost, in milliseconds. */
export interface SilenceLimits {
  /** How long a call waits until somebody looks what has become of it, and how long between two looks. */
  readonly quietMs: number
  /** How long podman may take for the smallest question, which is asked twice. Whatever it is busy with, it takes a few. */
  readonly answerMs: number
  /** How long a call may stay without an answer while nothing in podman shows that it is being worked on. */
  readonly idleMs: number
  /** How long a call may take, even if there are signs of work all the time. */
  readonly longestMs: number
}

export const SILENCE: SilenceLimits = { quietMs: 1000, answerMs: 2500, idleMs: 3000, longestMs: 900_000 }

/**
 * How long podman may take for a look at what has become of a call, and for the smallest question when it was silent
 * just now, in milliseconds: who comes next is not to wait as long again.
 */
const GLANCE_MS = 500

/** Time between two questions on behalf of an open stream, in milliseconds. */
const STREAM_MS = 1000

/** An answer to the smallest question that takes longer, in milliseconds, shows that the host has its hands full. */
const LATE_MS = 250

/** The smallest question that podman's database, and not its HTTP server alone, has a part in. */
const SMALLEST: ApiRequest = { method: 'GET', path: '/v4.0.0/libpod/containers/loopat-none/exists', ok: [204] }

/** What a look through another connection showed: podman said nothing in time, or something. */
export type Glance = { readonly kind: 'silent' } | { readonly kind: 'answer'; readonly answer: unknown }

/** What is to be known of a call to judge its silence. */
export interface SilentCall extends ApiRequest {
  /** The operation and its object, for messages. */
  readonly what: string
  /**
   * Looks, through another connection, whether podman is at work on the call. Default: whether anybody works in the
   * store of images and layers.
   */
  readonly isAtWork?: (glance: (request: ApiRequest) => Promise<Glance>) => Promise<boolean>
  /** How long it may stay without an answer and without a sign of work, in milliseconds, if longer than others. */
  readonly idleMs?: number
  /** Whether it was lost before, while podman lived: then it is lost again in half the time. */
  readonly isRepeated?: boolean
}

/** A call that nobody works on, while podman answers others. */
export class LostCall extends EngineError {
  constructor(what: string) {
    super('connection_lost', `podman does not answer, and shows no sign of working on it: ${what}`)
  }
}

/** How podman answers the smallest question. */
type Pulse = 'silent' | 'late' | 'prompt'

/**
 * Ends calls and streams that nobody will ever answer. Over a unix socket a service that dies breaks its connections,
 * so what is left is a service that is frozen as a whole, and a call that got lost inside it or on the way.
 */
export class SilenceWatch {
  readonly #docker: DockerClient
  readonly #limits: SilenceLimits
  readonly #store: StoreLock
  /** The question that is open, shared by all that wait. */
  #question: Promise<Pulse> | undefined
  /** When podman last answered it. */
  #heardAt = Number.NEGATIVE_INFINITY
  #isSilent = false

  constructor(docker: DockerClient, limits: SilenceLimits) {
    this.#docker = docker
    this.#limits = limits
    this.#store = new StoreLock((request, limitMs) => this.#glance(request, limitMs))
  }

  /**
   * Makes a call, and ends it when podman is silent as a whole, or does not work on it.
   * @throws LostCall in the second case, another EngineError `connection_lost` in the first, or what `make` throws
   */
  async over<T>(call: SilentCall, make: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const given = new AbortController()
    const answered = new AbortController()
    // A stream that goes on after it was answered hears the signal as well.
    const giveUp = (reason: unknown) => {
      if (!answered.signal.aborted) given.abort(reason)
    }
    void this.#watch(call, answered.signal).then(giveUp, giveUp)
    try {
      return await make(signal === undefined ? given.signal : AbortSignal.any([signal, given.signal]))
    } catch (error) {
      throw given.signal.aborted && signal?.aborted !== true ? given.signal.reason : error
    } finally {
      answered.abort()
    }
  }

  /**
   * Breaks a stream off with `connection_lost` when podman is silent as a whole. That a stream itself is silent means
   * nothing: a command or a build step may be.
   */
  follow(stream: Readable, what: string): void {
    const closed = new AbortController()
    stream.once('close', () => closed.abort())
    const breakOff = (reason: unknown) => {
      if (!closed.signal.aborted) stream.destroy(reason instanceof Error ? reason : new Error(String(reason)))
    }
    void this.#watchStream(what, closed.signal).then(breakOff, breakOff)
  }

  async #watchStream(what: string, closed: AbortSignal): Promise<EngineError> {
    while (await pause(STREAM_MS, closed)) {
      const isFresh = performance.now() - this.#heardAt < STREAM_MS / 2
      if (!isFresh && (await this.#ask()) === 'silent') break
    }
    return noAnswer(what)
  }

  /** @returns why the call is given up; of no interest once it was answered */
  async #watch(call: SilentCall, answered: AbortSignal): Promise<EngineError> {
    const idleMs = Math.max(this.#limits.idleMs, call.idleMs ?? 0) / (call.isRepeated ? 2 : 1)
    let sentAt = performance.now()
    let workedAt = sentAt
    while (await pause(this.#isSilent ? 0 : this.#limits.quietMs, answered)) {
      const pulse = await this.#ask()
      if (pulse === 'silent') return noAnswer(call.what)
      // Whoever uploads may take its time.
      if (isSending(call)) sentAt = performance.now()
      else if (performance.now() - sentAt > this.#limits.longestMs) break
      if (pulse === 'late' || isSending(call) || (await this.#isAtWork(call))) workedAt = performance.now()
      else if (performance.now() - workedAt >= idleMs) break
    }
    return new LostCall(call.what)
  }

  async #isAtWork({ isAtWork }: SilentCall): Promise<boolean> {
    if (isAtWork === undefined) return await this.#store.isHeld()
    return await isAtWork((request) => this.#glance(request, GLANCE_MS))
  }

  #ask(): Promise<Pulse> {
    this.#question ??= this.#feelPulse().finally(() => {
      this.#question = undefined
    })
    return this.#question
  }

  async #feelPulse(): Promise<Pulse> {
    const limitMs = this.#isSilent ? Math.min(GLANCE_MS, this.#limits.answerMs) : this.#limits.answerMs
    // Asked twice: when the whole host was frozen, the time was over before podman could say a word.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const began = performance.now()
      if ((await this.#glance(SMALLEST, limitMs)).kind === 'silent') continue
      this.#heardAt = performance.now()
      this.#isSilent = false
      return this.#heardAt - began > LATE_MS ? 'late' : 'prompt'
    }
    this.#isSilent = true
    return 'silent'
  }

  /** A service that refuses or breaks connections is not silent: what waits for it learns of that by itself. */
  async #glance(request: ApiRequest, limitMs: number): Promise<Glance> {
    const limit = AbortSignal.timeout(limitMs)
    try {
      return { kind: 'answer', answer: await this.#docker.call(request, limit) }
    } catch {
      return limit.aborted ? { kind: 'silent' } : { kind: 'answer', answer: undefined }
    }
  }
}

function isSending({ upload }: ApiRequest): boolean {
  return upload !== undefined && !upload.readableEnded && !upload.destroyed
}

function noAnswer(what: string): EngineError {
  return new EngineError('connection_lost', `podman no longer answers: ${what}`)
}

/** @returns whether the time passed without an abort */
async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal, ref: false })
    return true
  } catch (error) {
    if (signal.aborted) return false
    throw error
  }
}
