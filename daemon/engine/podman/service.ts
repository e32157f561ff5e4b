import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError, isEngineError } from '../engine.ts'
import { type Candidate, describeSilent, locatePodman } from './locate.ts'
import { OwnService, type OwnServiceOptions } from './own-service.ts'
import { ping } from './ping.ts'

/** Time between two looks at a service that answers, in milliseconds. */
const LOOK_MS = 1000

/** How long an answer may take, in milliseconds: much, since a busy host is no dead service. */
const ANSWER_MS = 10_000

/** How many looks in a row must fail by silence, not by refusal, until a service counts as hanging. */
const SILENT_LOOKS = 3

/** How long a service that is not ours has to come back before podman is looked for again, in milliseconds. */
const GRACE_MS = 5000

/** Pauses between attempts to bring it back, in milliseconds; the last one stays. */
const BACK_OFF_MS = [0, 200, 500, 1000, 2000, 5000, 10_000]

/** Where podman is, or why it is not. */
export type PodmanState =
  | {
      readonly kind: 'up'
      readonly socketPath: string
      readonly version: string
      readonly isOurs: boolean
      /** Why it is not the one that somebody chose. */
      readonly warning?: string
    }
  | { readonly kind: 'down'; readonly reason: string }

/** Options of {@link PodmanService}. */
export interface PodmanServiceOptions extends OwnServiceOptions {
  /** Sockets of services that others run, in order of preference; see `candidateSockets`. */
  readonly candidates: readonly Candidate[]
}

/**
 * Knows which podman service is used. Prefers one that others run; where none answers, runs its own. When the service
 * goes away, it is brought back, or another one is found; what asks for the socket before each request, as the engine
 * does, notices nothing but a delay.
 */
export class PodmanService {
  readonly #candidates: readonly Candidate[]
  readonly #own: OwnService
  readonly #listeners = new Set<(state: PodmanState) => void>()
  readonly #stop = new AbortController()
  #state: PodmanState = { kind: 'down', reason: 'podman was not looked for yet' }
  /** The last socket that answered; calls wait on it while the service is brought back. */
  #lastSocket: string | undefined
  /** Whether the next attempt can be expected to succeed. */
  #isRecovering = false
  #supervision: Promise<void> | undefined

  constructor(options: PodmanServiceOptions) {
    this.#candidates = options.candidates
    this.#own = new OwnService(options)
  }

  /** Where podman is now. */
  get state(): PodmanState {
    return this.#state
  }

  /** Our own service, whether it is used or not. */
  get own(): OwnService {
    return this.#own
  }

  /**
   * The socket for the next request.
   * @throws EngineError `unavailable` when there is none and none is about to come back
   */
  socketPath(): string {
    if (this.#state.kind === 'up') return this.#state.socketPath
    if (this.#isRecovering && this.#lastSocket !== undefined) return this.#lastSocket
    throw new EngineError('unavailable', this.#state.reason)
  }

  /**
   * Finds podman, or starts it.
   * @throws EngineError `unavailable` with the reason and what to do; the reason of the signal
   */
  async start(signal?: AbortSignal): Promise<void> {
    const located = await locatePodman(this.#candidates, signal)
    const warning = describeSilent(located.silent)
    let { podman } = located
    try {
      podman ??= { socketPath: this.#own.socketPath, version: await this.#own.ensure(signal) }
    } catch (error) {
      if (isEngineError(error)) {
        this.#set({ kind: 'down', reason: warning === undefined ? error.message : `${error.message}; ${warning}` })
      }
      throw error
    }
    const isOurs = podman.socketPath === this.#own.socketPath
    this.#set({ kind: 'up', ...podman, isOurs, ...(warning === undefined ? {} : { warning }) })
  }

  /**
   * Watches over the service from now on, until {@link PodmanService.dispose}. Also brings up one that could not be
   * started, as soon as it can be.
   * @param onChange told of each change; must not throw
   * @returns stops telling; idempotent
   */
  supervise(onChange: (state: PodmanState) => void): () => void {
    this.#listeners.add(onChange)
    this.#supervision ??= this.#supervise(this.#stop.signal)
    return () => void this.#listeners.delete(onChange)
  }

  /** Stops watching. The service goes on, and the containers with it. Idempotent. */
  async dispose(): Promise<void> {
    this.#stop.abort()
    this.#listeners.clear()
    await this.#supervision
  }

  async #supervise(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        if (this.#state.kind === 'up') await this.#watch(this.#state.socketPath, signal)
        await this.#recover(signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** Returns when the service no longer answers. */
  async #watch(socketPath: string, signal: AbortSignal): Promise<void> {
    let silent = 0
    for (;;) {
      await pause(LOOK_MS, signal)
      const result = await ping(socketPath, ANSWER_MS, signal)
      if (result.kind === 'podman') {
        silent = 0
        continue
      }
      silent += 1
      if (result.reason.startsWith('no answer') && silent < SILENT_LOOKS) continue
      this.#isRecovering = true
      this.#set({ kind: 'down', reason: `podman no longer answers on ${socketPath} (${result.reason})` })
      return
    }
  }

  /** Returns when podman answers again. */
  async #recover(signal: AbortSignal): Promise<void> {
    const foreign = this.#lastSocket === this.#own.socketPath ? undefined : this.#lastSocket
    // Looked for again from the first on: another one may answer by now.
    if (foreign !== undefined) await comesBack(foreign, signal)
    for (let attempt = 0; this.#state.kind === 'down'; attempt += 1) {
      await pause(BACK_OFF_MS[Math.min(attempt, BACK_OFF_MS.length - 1)] ?? 0, signal)
      try {
        await this.start(signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!isEngineError(error, 'unavailable')) throw error
        // It did not come back at the first attempt: callers are told at once from now on.
        this.#isRecovering = false
      }
    }
  }

  #set(state: PodmanState): void {
    const before = this.#state
    this.#state = state
    if (state.kind === 'up') {
      this.#lastSocket = state.socketPath
      this.#isRecovering = false
    }
    const isSame = before.kind === state.kind && JSON.stringify(before) === JSON.stringify(state)
    if (isSame) return
    for (const listener of this.#listeners) listener(state)
  }
}

/** Waits for a while until podman answers again on a socket. */
async function comesBack(socketPath: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + GRACE_MS
  while (performance.now() < deadline) {
    if ((await ping(socketPath, ANSWER_MS, signal)).kind === 'podman') return
    await pause(100, signal)
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal, ref: false })
}
