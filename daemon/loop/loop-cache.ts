import { type ContainerDetails, type Engine, type EngineEventMessage, isEngineError } from '../engine/engine.ts'
import { abortable } from '../lib/abort.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../log.ts'
import { isOurs } from './loop-plan.ts'
import { containerName, LABEL } from './loop-spec.ts'

/** How long a sign of life of the event stream is trusted, in milliseconds. */
const TRUST_MS = 2_000
/** Longest wait for the answer to a ping, in milliseconds. */
const PING_MS = 1_000
/** Longest wait of a reader for the first listing after the daemon's start, in milliseconds. */
const FIRST_SYNC_MS = 3_000
/** Longest wait of a reader for a later listing, in milliseconds. */
const SYNC_WAIT_MS = 2_000
/** Longest wait of a reader for a look at one container that is under way: it may have been lost. */
const LOOK_WAIT_MS = 1_000
/** Pause before everything is read anew after that failed, in milliseconds. */
const RETRY_MS = 5_000
/** Containers inspected at once when everything is read anew. */
const PARALLEL_INSPECTS = 8

/** Events that change nothing a loop shows; commands make many of them. */
const IRRELEVANT = /^(?:exec|attach|health|mount|unmount|export|checkpoint|commit|copy|sync)/

/** What the cache is made of. */
export interface LoopCacheOptions {
  readonly engine: Engine
  readonly workspace: string
  readonly clock: Clock
  readonly log: Logger
  /** A loop's container may have changed. Must not throw. */
  readonly onChange: (loopId: string) => void
  /** Everything was read anew, after the first or a later connection. Must not throw. */
  readonly onSync: () => void
}

interface Refresh {
  again: boolean
  readonly done: Promise<void>
}

/**
 * What is known about the loops' containers, fed by the engine's events. The engine stays the truth: after every
 * connection everything is read anew, every event leads to an inspect, and the cache is only trusted while the event
 * stream is proven alive.
 */
export class LoopCache {
  readonly #options: LoopCacheOptions
  readonly #containers = new Map<string, ContainerDetails>()
  /** Number of the question whose answer is stored, per loop: an older question never overwrites a newer one. */
  readonly #answered = new Map<string, number>()
  readonly #refreshes = new Map<string, Refresh>()
  #stopWatching: (() => void) | undefined
  #connected = false
  #synced = false
  #syncing: Promise<void> | undefined
  /** Whether a new connection came while everything was being read. */
  #outdated = false
  #isRetrying = false
  #ping: Promise<boolean> | undefined
  #questions = 0
  #aliveAt = Number.NEGATIVE_INFINITY
  #firstContact: Promise<void> | undefined
  #endFirstContact: () => void = () => undefined

  constructor(options: LoopCacheOptions) {
    this.#options = options
  }

  /** Begins to follow the engine. */
  open(): void {
    if (this.#stopWatching !== undefined) return
    this.#firstContact = new Promise((resolve) => {
      this.#endFirstContact = resolve
    })
    const labels = { [LABEL.workspace]: this.#options.workspace }
    this.#stopWatching = this.#options.engine.watch(labels, (message) => this.#take(message))
    void this.#options.clock.sleep(FIRST_SYNC_MS).then(this.#endFirstContact)
  }

  /** Stops following the engine. Idempotent. */
  close(): void {
    this.#stopWatching?.()
    this.#stopWatching = undefined
    this.#connected = false
    this.#synced = false
    this.#endFirstContact()
  }

  /** The container of a loop as last known; asks nobody. */
  peek(loopId: string): ContainerDetails | undefined {
    return this.#containers.get(loopId)
  }

  /** Loops that have a container, as last known. */
  loopIds(): string[] {
    return [...this.#containers.keys()]
  }

  /**
   * Reports whether the cache can be trusted: its event stream gave a sign of life within the last two seconds, or the
   * engine answers a ping now. Waits a little after the daemon's start for the first listing.
   */
  async trusted(signal?: AbortSignal): Promise<boolean> {
    if (this.#firstContact !== undefined) await abortable(this.#firstContact, signal)
    if (!this.#connected) return false
    if (!this.#synced) await abortable(this.#syncSoon(), signal)
    if (!this.#synced) return false
    if (this.#isFresh()) return true
    this.#ping ??= this.#askForLife()
    return await abortable(this.#ping, signal)
  }

  /**
   * The container of a loop as it is now; costs a call only when the cache cannot be trusted or an event is being
   * looked into.
   * @throws EngineError
   */
  async current(loopId: string, signal: AbortSignal): Promise<ContainerDetails | undefined> {
    if (await this.trusted(signal)) {
      const refresh = this.#refreshes.get(loopId)
      const isKnown = refresh === undefined || (await abortable(this.#isSoon(refresh.done), signal))
      if (isKnown && this.#isTrusted()) return this.peek(loopId)
    }
    return await this.inspect(loopId, signal)
  }

  /**
   * Asks the engine about the container of a loop, and keeps the answer. One of its name that is not ours counts as none.
   * @throws EngineError
   */
  async inspect(loopId: string, signal?: AbortSignal): Promise<ContainerDetails | undefined> {
    const { engine, workspace } = this.#options
    this.#questions += 1
    const question = this.#questions
    const found = await engine.container.inspect(containerName(workspace, loopId), signal)
    const details = found !== undefined && isOurs(found, workspace, loopId) ? found : undefined
    this.#store(loopId, question, details)
    return details
  }

  /** Forgets a loop that no longer exists. */
  forget(loopId: string): void {
    this.#containers.delete(loopId)
    this.#answered.delete(loopId)
  }

  /** Has the container of a loop looked at soon, in the background. */
  touch(loopId: string): void {
    void this.#refresh(loopId)
  }

  #take(message: EngineEventMessage): void {
    if (message.kind === 'disconnected') {
      this.#connected = false
      this.#synced = false
      this.#options.log.warn({ reason: message.reason }, 'lost the event stream of podman')
      this.#endFirstContact()
      return
    }
    this.#connected = true
    this.#aliveAt = this.#options.clock.monotonicMs()
    if (message.kind === 'connected') {
      this.#synced = false
      this.#outdated = this.#syncing !== undefined
      void this.#sync()
      return
    }
    const loopId = message.labels[LABEL.loop]
    if (loopId !== undefined && !IRRELEVANT.test(message.action)) void this.#refresh(loopId)
  }

  #isFresh(): boolean {
    return this.#options.clock.monotonicMs() - this.#aliveAt <= TRUST_MS
  }

  #isTrusted(): boolean {
    return this.#connected && this.#synced && this.#isFresh()
  }

  async #askForLife(): Promise<boolean> {
    const askedAt = this.#options.clock.monotonicMs()
    try {
      await this.#options.engine.ping(AbortSignal.timeout(PING_MS))
      this.#aliveAt = Math.max(this.#aliveAt, askedAt)
      return this.#connected && this.#synced
    } catch (error) {
      if (!isEngineError(error) && !isTimeout(error)) throw error
      this.#options.log.warn({ err: error }, 'podman does not answer a ping')
      return false
    } finally {
      this.#ping = undefined
    }
  }

  /** Reads everything anew, but keeps nobody waiting for long: a list can take minutes while an image is being copied. */
  #syncSoon(): Promise<void> {
    return Promise.race([this.#sync(), this.#options.clock.sleep(SYNC_WAIT_MS)])
  }

  /** Reads everything anew; one at a time. */
  #sync(): Promise<void> {
    this.#syncing ??= this.#readAll().finally(() => {
      this.#syncing = undefined
      if (!this.#outdated) return
      this.#outdated = false
      void this.#sync()
    })
    return this.#syncing
  }

  async #readAll(): Promise<void> {
    const { engine, workspace, log, onSync } = this.#options
    try {
      const known = new Set(this.#containers.keys())
      const summaries = await engine.container.list({ [LABEL.workspace]: workspace })
      for (const { labels } of summaries) known.add(labels[LABEL.loop] ?? '')
      known.delete('')
      const queue = [...known]
      const worker = async () => {
        for (let id = queue.pop(); id !== undefined; id = queue.pop()) await this.#inspectIfPossible(id)
      }
      await Promise.all(Array.from({ length: PARALLEL_INSPECTS }, worker))
      if (!this.#connected || this.#outdated) return
      this.#synced = true
      onSync()
    } catch (error) {
      if (!isEngineError(error)) throw error
      log.warn({ err: error }, 'cannot list the containers of the workspace')
      this.#syncLater()
    } finally {
      this.#endFirstContact()
    }
  }

  /** One container that cannot be looked at, as when its storage is damaged, does not hide the others. */
  async #inspectIfPossible(loopId: string): Promise<void> {
    try {
      await this.inspect(loopId)
    } catch (error) {
      if (!isEngineError(error, 'failed')) throw error
      this.#options.log.warn({ loop: loopId, err: error }, 'cannot inspect the container of a loop')
    }
  }

  /** What failed is tried again although nobody asks: what happens meanwhile would not be noticed. */
  #syncLater(): void {
    if (this.#isRetrying) return
    this.#isRetrying = true
    void this.#options.clock.sleep(RETRY_MS).then(() => {
      this.#isRetrying = false
      if (this.#connected && !this.#synced) void this.#sync()
    })
  }

  /** Reports whether something is done before a reader has waited for long. */
  async #isSoon(done: Promise<void>): Promise<boolean> {
    const waiting = new AbortController()
    const late = this.#options.clock.sleep(LOOK_WAIT_MS, waiting.signal).then(
      () => false,
      () => true,
    )
    try {
      return await Promise.race([done.then(() => true), late])
    } finally {
      waiting.abort()
    }
  }

  /** Looks at one container; events that come meanwhile lead to one more look. */
  #refresh(loopId: string): Promise<void> {
    const running = this.#refreshes.get(loopId)
    if (running !== undefined) {
      running.again = true
      return running.done
    }
    const refresh: Refresh = { again: false, done: Promise.resolve().then(() => this.#look(loopId, refresh)) }
    this.#refreshes.set(loopId, refresh)
    return refresh.done
  }

  async #look(loopId: string, refresh: Refresh): Promise<void> {
    try {
      do {
        refresh.again = false
        await this.inspect(loopId)
      } while (refresh.again)
    } catch (error) {
      if (!isEngineError(error)) throw error
      this.#options.log.warn({ loop: loopId, err: error }, 'cannot inspect the container of a loop')
      // What is stored may be a lie now; the next one who asks reads everything.
      this.#synced = false
      this.#syncLater()
    } finally {
      this.#refreshes.delete(loopId)
    }
  }

  /** Any change after an answer makes an event, and so a newer question: the last question has the last word. */
  #store(loopId: string, question: number, details: ContainerDetails | undefined): void {
    if ((this.#answered.get(loopId) ?? 0) > question) return
    this.#answered.set(loopId, question)
    if (details === undefined) this.#containers.delete(loopId)
    else this.#containers.set(loopId, details)
    this.#options.onChange(loopId)
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError'
}
