import {
  type CheckedParamsOf,
  formatDuration,
  type IdleAfter,
  type IdleWindow,
  LoopatError,
  type LoopCause,
  type LoopInfo,
  type ResultOf,
} from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import { ClientLeases } from './client-leases.ts'
import { chooseWindow } from './idle-decision.ts'
import type { IdleFiles } from './idle-file.ts'
import { IdleHolds } from './idle-holds.ts'
import type { IdleLoops, LeaseClient } from './idle-loops.ts'
import { idleSince, type Moment } from './idle-record.ts'
import { IdleRoom } from './idle-room.ts'
import { IdleScheduler } from './idle-scheduler.ts'
import { IdleStore } from './idle-store.ts'
import type { LeaseRegister } from './lease.ts'

/** What the service is made of. */
export interface IdleServiceOptions {
  readonly loops: IdleLoops
  readonly leases: LeaseRegister
  readonly files: Pick<IdleFiles, 'readAll' | 'write'>
  readonly clock: Clock
  readonly log: Logger
  /** Names the run of the machine that the monotonic clock belongs to. */
  readonly boot: string
  /** How many loops may run; default: any number. */
  readonly maxRunning?: number | undefined
  /** Windows that are not the loops' own. */
  readonly windows: { readonly environment: IdleWindow | undefined; readonly config: IdleWindow | undefined }
}

/** Sleep: what keeps loops awake, and when they are stopped. */
export class IdleService implements AsyncDisposable {
  readonly #options: IdleServiceOptions
  readonly #store: IdleStore
  readonly #scheduler: IdleScheduler
  readonly #holds: IdleHolds
  readonly #clients: ClientLeases
  readonly #room: IdleRoom

  constructor(options: IdleServiceOptions) {
    const { clock, log, leases, files, loops } = options
    this.#options = options
    this.#store = new IdleStore({ files, clock, log })
    this.#scheduler = new IdleScheduler({
      clock,
      log,
      leases,
      windowOf: (id) => this.#after(id).window,
      sleep: (id, isStillIdle, signal) => loops.sleep(id, { isStillIdle, cause: () => this.#cause(id) }, signal),
      onActivity: (id, { at, ...activity }) => {
        const run = activity.startedAt === undefined ? {} : { startedAt: activity.startedAt }
        this.#store.note(id, { ...activity, ...run, at: at.toISOString(), boot: options.boot })
      },
      idleSince: (id, startedAt) => idleSince(this.#store.get(id).activity, startedAt, this.#moment()),
    })
    this.#holds = new IdleHolds({ register: leases, store: this.#store, log, moment: () => this.#moment() })
    this.#clients = new ClientLeases(leases)
    this.#room = new IdleRoom({
      maxRunning: options.maxRunning,
      clock,
      scheduler: this.#scheduler,
      sleep: (id, request, signal) => loops.sleep(id, request, signal),
      log,
    })
    leases.watch(({ count }) => {
      if (count === 0) this.#room.trim()
    })
  }

  /** Reads what outlived the last daemon. Call it before containers are looked at. */
  async open(): Promise<void> {
    await this.#store.load()
    this.#holds.restore()
  }

  /** Begins to put loops to sleep: call it when everything that outlives a daemon has its leases again. */
  begin(): void {
    this.#scheduler.begin()
    this.#room.trim()
  }

  /**
   * Puts loops to sleep that have been idle for longest, as far as too many would run with one more.
   * @returns to be disposed when that one runs, or does not
   * @throws the reason of the signal
   */
  async makeRoom(
    loop: { readonly id: string; readonly name: string },
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<Disposable> {
    return await this.#room.make(loop, onProgress, signal)
  }

  /** Is told of the run of a loop's container, undefined when it does not run. */
  container(loopId: string, startedAt: string | undefined): void {
    this.#scheduler.container(loopId, startedAt)
    if (startedAt !== undefined) this.#room.trim()
  }

  /** Is told of a change of a loop: holds end when it is archived or removed. */
  changed({ loop, removed }: { readonly loop: LoopInfo; readonly removed: boolean }): void {
    if (removed) {
      this.#options.leases.drop(loop.id)
      this.#scheduler.container(loop.id, undefined)
      this.#store.forget(loop.id)
    } else if (loop.state === 'archived') {
      const ids = this.#holds.ids(loop.id)
      if (ids.length === 0) return
      this.#holds.end(loop.id, ids).catch((error: unknown) => {
        this.#options.log.warn({ loop: loop.id, err: error }, 'the holds of an archived loop cannot be ended')
      })
    }
  }

  /** @see `idle/acquire` of the contract, as for all that follow */
  async acquire(
    { loop, reason, ttlMs }: CheckedParamsOf<'idle/acquire'>,
    client: LeaseClient,
    signal: AbortSignal,
  ): Promise<ResultOf<'idle/acquire'>> {
    const { id } = await this.#usable(loop, signal)
    signal.throwIfAborted()
    return { lease: this.#clients.acquire(client, id, { reason, ttlMs }) }
  }

  async hold(
    { loop, forMs, reason }: CheckedParamsOf<'idle/hold'>,
    signal: AbortSignal,
  ): Promise<ResultOf<'idle/hold'>> {
    const { id } = await this.#usable(loop, signal)
    return { hold: await this.#holds.add(id, { forMs, reason }) }
  }

  async list(_params: CheckedParamsOf<'idle/list'>, signal: AbortSignal): Promise<ResultOf<'idle/list'>> {
    const { loops } = await this.#options.loops.list({ archived: 'include' }, signal)
    return {
      loops: loops.map(({ id }) => {
        const { action, at } = this.#scheduler.next(id)
        return { id, leases: this.#options.leases.count(id), after: this.#after(id), next: { action, at } }
      }),
    }
  }

  async release(
    { loop, lease }: CheckedParamsOf<'idle/release'>,
    client: LeaseClient,
    signal: AbortSignal,
  ): Promise<ResultOf<'idle/release'>> {
    const { id, name } = await this.#options.loops.look(loop, signal)
    const held = this.#options.leases.list(id)
    const holds = this.#holds.ids(id)
    if (lease === undefined && holds.length === 0) throw notFound(`loop "${name}" has no hold`)
    if (lease === undefined || holds.includes(lease)) {
      const ended = lease === undefined ? holds : [lease]
      await this.#holds.end(id, ended)
      return { released: ended.length }
    }
    const found = held.find((one) => one.id === lease)
    if (found === undefined) throw notFound(`loop "${name}" has no lease ${lease}`)
    const own = this.#clients.find(client, lease)
    if (own === undefined) throw foreign(lease, found.owner)
    own.release()
    return { released: 1 }
  }

  async renew(
    { lease, ttlMs }: CheckedParamsOf<'idle/renew'>,
    client: LeaseClient,
    signal: AbortSignal,
  ): Promise<ResultOf<'idle/renew'>> {
    signal.throwIfAborted()
    if (this.#clients.find(client, lease) === undefined) {
      const other = this.#options.leases.list().find(({ id }) => id === lease)
      throw other === undefined ? notFound(`there is no lease ${lease}`) : foreign(lease, other.owner)
    }
    const renewed = this.#clients.renew(client, lease, ttlMs)
    if (renewed === undefined) throw notFound(`there is no lease ${lease}`)
    return { lease: renewed }
  }

  async set({ loop, after }: CheckedParamsOf<'idle/set'>, signal: AbortSignal): Promise<ResultOf<'idle/set'>> {
    const found = await this.#options.loops.look(loop, signal)
    refuseBroken(found)
    await this.#store.change(found.id, ({ after: _after, ...rest }) => ({
      ...rest,
      ...(after === null ? {} : { after }),
    }))
    this.#scheduler.rearm(found.id)
    return { after: this.#after(found.id) }
  }

  async why({ loop }: CheckedParamsOf<'idle/why'>, signal: AbortSignal): Promise<ResultOf<'idle/why'>> {
    const found = await this.#options.loops.look(loop, signal)
    const { activity } = this.#store.get(found.id)
    return {
      loop: found,
      after: this.#after(found.id),
      leases: this.#options.leases.list(found.id),
      lastActivity: activity === undefined ? null : { at: activity.at, what: activity.what },
      next:
        found.state === 'starting'
          ? { action: 'stay-awake', at: null, because: 'it is being started' }
          : this.#scheduler.next(found.id),
      failure: this.#failure(found.id),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#room[Symbol.asyncDispose]()
    await this.#scheduler[Symbol.asyncDispose]()
    await this.#store[Symbol.asyncDispose]()
  }

  #after(id: string): IdleAfter {
    return chooseWindow({ ...this.#options.windows, loop: this.#store.get(id).after })
  }

  #moment(): Moment {
    const { clock, boot } = this.#options
    return { date: clock.now(), monotonicMs: clock.monotonicMs(), boot }
  }

  #cause(id: string): LoopCause {
    const idleMs = this.#options.clock.monotonicMs() - this.#scheduler.facts(id).idleSince
    return { by: 'idle', text: `idle for ${formatDuration(idleMs)}` }
  }

  #failure(id: string): ResultOf<'idle/why'>['failure'] {
    const failure = this.#scheduler.failure(id)
    if (failure === undefined) return null
    const { clock } = this.#options
    const retryAt = new Date(clock.now().getTime() + Math.max(0, failure.retryAt - clock.monotonicMs()))
    const { at, message, attempts } = failure
    return { at: at.toISOString(), message, attempts, retryAt: retryAt.toISOString() }
  }

  /** The loop, if it may be kept awake. @throws `loop_archived`, `loop_broken`, `loop_not_found`, `ambiguous_loop` */
  async #usable(ref: string, signal: AbortSignal): Promise<LoopInfo> {
    const loop = await this.#options.loops.look(ref, signal)
    refuseBroken(loop)
    if (loop.state !== 'archived') return loop
    throw new LoopatError('loop_archived', `loop "${loop.name}" is archived`, {
      next: `Run: loopctl unarchive ${loop.name}`,
      details: { loop: loop.id },
    })
  }
}

/** @throws `loop_broken` */
function refuseBroken({ id, state, reason }: LoopInfo): void {
  if (state !== 'broken') return
  throw new LoopatError('loop_broken', `loop ${id} is broken: ${reason ?? 'it cannot be read'}`, {
    next: 'Run: loopctl ls --all',
    details: { loop: id },
  })
}

function notFound(message: string): LoopatError {
  return new LoopatError('lease_not_found', message, { next: 'Run: loopctl idle why LOOP' })
}

function foreign(lease: string, owner: string): LoopatError {
  return new LoopatError('lease_foreign', `lease ${lease} belongs to another: ${owner}`, {
    next: 'It ends with what holds it.',
    details: { owner },
  })
}
