import { randomUUID } from 'node:crypto'
import type { LeaseInfo } from '@loopatd/protocol'
import type { z } from 'zod'
import type { Clock } from '../lib/clock.ts'
import { Timetable } from './timetable.ts'

/** What a holder says about its lease. */
export interface LeaseRequest {
  /** What holds it: `exec`, `terminal`, `job` and others. */
  readonly owner: string
  /** For people, such as the command that runs. */
  readonly reason: string
  /**
   * Asks the holder to let go, because the loop is about to stop. The holder releases the lease when it has done so.
   * Must not throw; may be called more than once.
   */
  readonly end?: () => void
  /**
   * Whether nothing of the holder runs inside: the loop does not fall asleep, but no stop and no change of it has to wait
   * for the holder. Default: false.
   */
  readonly passive?: boolean
  /** Milliseconds of time awake after which it ends by itself; default: never. */
  readonly ttlMs?: number
  /** Those of a lease that is taken again after a restart; default: new ones. */
  readonly restored?: { readonly id: string; readonly since: string }
}

/** Keeps a loop awake until it is released. */
export interface Lease extends Disposable {
  readonly id: string
  /** Gives the lease back. Later calls do nothing. */
  release(): void
  /** Has the lease end `ttlMs` milliseconds from now. Does nothing when it is released. */
  renew(ttlMs: number): void
}

/** A lease as it is shown. */
export type LeaseView = z.infer<typeof LeaseInfo>

/** A lease was taken or given back. */
export interface LeaseEvent {
  readonly loopId: string
  readonly lease: { readonly id: string; readonly owner: string; readonly reason: string }
  readonly isTaken: boolean
  /** Leases on the loop after that. */
  readonly count: number
}

interface Held {
  readonly request: LeaseRequest
  readonly id: string
  readonly loopId: string
  readonly since: string
}

/** Who uses which loop now (rules ). A loop without a lease may sleep. */
export class LeaseRegister {
  readonly #clock: Clock
  readonly #held = new Map<string, Map<string, Held>>()
  readonly #loops = new Map<string, string>()
  readonly #watchers = new Set<(event: LeaseEvent) => void>()
  readonly #expiry: Timetable

  constructor(clock: Clock) {
    this.#clock = clock
    this.#expiry = new Timetable(clock, (id) => this.#release(id))
  }

  /** Takes a lease on a loop. */
  acquire(loopId: string, request: LeaseRequest): Lease {
    const { id = randomUUID(), since = this.#clock.now().toISOString() } = request.restored ?? {}
    const leases = this.#held.get(loopId) ?? new Map<string, Held>()
    this.#held.set(loopId, leases.set(id, { request, id, loopId, since }))
    this.#loops.set(id, loopId)
    const renew = (ttlMs: number) => {
      if (this.#loops.has(id)) this.#expiry.set(id, this.#clock.monotonicMs() + ttlMs)
    }
    if (request.ttlMs !== undefined) renew(request.ttlMs)
    this.#tell({ loopId, lease: { ...request, id }, isTaken: true, count: leases.size })
    const release = () => this.#release(id)
    return { id, release, renew, [Symbol.dispose]: release }
  }

  /** Reports whether anybody has something running in a loop. */
  isHeld(loopId: string): boolean {
    for (const { request } of this.#held.get(loopId)?.values() ?? []) if (request.passive !== true) return true
    return false
  }

  /** The leases held on one loop, or on all of them, oldest first. */
  list(loopId?: string): LeaseView[] {
    return this.#of(loopId).map((held) => this.#view(held))
  }

  /** The leases whose holders have something running in a loop, or in any. */
  users(loopId?: string): LeaseView[] {
    return this.#users(loopId).map((held) => this.#view(held))
  }

  /** How many leases are held on a loop. */
  count(loopId: string): number {
    return this.#held.get(loopId)?.size ?? 0
  }

  /** Calls the listener, which must not throw, for each lease that is taken or given back. @returns stops that */
  watch(listener: (event: LeaseEvent) => void): () => void {
    this.#watchers.add(listener)
    return () => void this.#watchers.delete(listener)
  }

  /** Ends all leases on a loop that is no more. */
  drop(loopId: string): void {
    for (const { id } of this.#of(loopId)) this.#release(id)
  }

  /**
   * Asks every user of a loop to let go and waits until all have, or until the grace is over. Comes before every
   * stop: an engine cannot stop a container while the output of a command in it is not read.
   * @param graceMs longest wait in milliseconds
   * @returns whether all were released
   * @throws the reason of the signal
   */
  async endAll(loopId: string, graceMs: number, signal?: AbortSignal): Promise<boolean> {
    for (const { request } of this.#users(loopId)) request.end?.()
    if (this.#users(loopId).length === 0) return true
    const over = new AbortController()
    const grace = this.#clock.sleep(
      graceMs,
      signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]),
    )
    let stopWatching: () => void = () => undefined
    const released = new Promise<void>((resolve) => {
      stopWatching = this.watch(() => {
        if (this.#users(loopId).length === 0) resolve()
      })
    })
    // The end of the sleep by our own hand is no failure.
    const quietly = grace.catch((error: unknown) => {
      if (!over.signal.aborted) throw error
    })
    try {
      await Promise.race([released, quietly])
    } finally {
      stopWatching()
      over.abort()
    }
    return this.#users(loopId).length === 0
  }

  #of(loopId: string | undefined): Held[] {
    if (loopId !== undefined) return [...(this.#held.get(loopId)?.values() ?? [])]
    return [...this.#held.values()].flatMap((leases) => [...leases.values()])
  }

  #users(loopId: string | undefined): Held[] {
    return this.#of(loopId).filter(({ request }) => request.passive !== true)
  }

  #view({ id, since, request: { owner, reason } }: Held): LeaseView {
    const due = this.#expiry.dueOf(id)
    const left = due === undefined ? undefined : due - this.#clock.monotonicMs()
    const expiresAt = left === undefined ? null : new Date(this.#clock.now().getTime() + left).toISOString()
    return { id, owner, reason, since, expiresAt }
  }

  #release(id: string): void {
    const loopId = this.#loops.get(id)
    const leases = loopId === undefined ? undefined : this.#held.get(loopId)
    const held = leases?.get(id)
    if (loopId === undefined || leases === undefined || held === undefined) return
    this.#loops.delete(id)
    leases.delete(id)
    if (leases.size === 0) this.#held.delete(loopId)
    this.#expiry.delete(id)
    this.#tell({ loopId, lease: { ...held.request, id }, isTaken: false, count: leases.size })
  }

  #tell(event: LeaseEvent): void {
    for (const watcher of [...this.#watchers]) watcher(event)
  }
}
