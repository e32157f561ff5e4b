import { randomUUID } from 'node:crypto'
import { LoopatError, MAX_HOLDS } from '@loopatd/protocol'
import type { Logger } from '../log.ts'
import { holdLeft, type IdleHold, type Moment } from './idle-record.ts'
import type { IdleStore } from './idle-store.ts'
import type { Lease, LeaseRegister, LeaseView } from './lease.ts'

/** Holds: leases that belong to the loop, on disk, so that they outlive connections and the daemon. */
export class IdleHolds {
  readonly #register: LeaseRegister
  readonly #store: IdleStore
  readonly #log: Logger
  readonly #moment: () => Moment
  /** Holds by loop. */
  readonly #held = new Map<string, Map<string, Lease>>()

  constructor({
    register,
    store,
    log,
    moment,
  }: { register: LeaseRegister; store: IdleStore; log: Logger; moment: () => Moment }) {
    this.#register = register
    this.#store = store
    this.#log = log
    this.#moment = moment
    register.watch(({ loopId, lease, isTaken }) => {
      if (!isTaken && this.#held.get(loopId)?.delete(lease.id) === true) this.#over(loopId, lease.id)
    })
  }

  /** Takes the holds up that are on disk and not over. */
  restore(): void {
    const now = this.#moment()
    for (const loopId of this.#store.ids()) {
      for (const hold of this.#store.get(loopId).holds ?? []) {
        const left = holdLeft(hold, now)
        if (left > 0) this.#take(loopId, hold, left)
      }
    }
  }

  /** @throws `too_many_requests`, `storage_failed` */
  async add(loopId: string, { forMs, reason }: { forMs: number; reason: string }): Promise<LeaseView> {
    if (this.ids(loopId).length >= MAX_HOLDS) {
      throw new LoopatError('too_many_requests', `a loop may have ${MAX_HOLDS} holds`, {
        next: 'End some: loopctl idle release LOOP',
        details: { loop: loopId },
      })
    }
    const { date, monotonicMs, boot } = this.#moment()
    const hold: IdleHold = {
      id: randomUUID(),
      reason,
      since: date.toISOString(),
      forMs,
      until: new Date(date.getTime() + forMs).toISOString(),
      boot,
      untilAwakeMs: monotonicMs + forMs,
    }
    this.#take(loopId, hold, forMs)
    try {
      await this.#store.change(loopId, (record) => ({
        ...record,
        holds: [...this.#inForce(loopId, record.holds), hold],
      }))
    } catch (error) {
      this.#held.get(loopId)?.get(hold.id)?.release()
      throw error
    }
    const view = this.#register.list(loopId).find(({ id }) => id === hold.id)
    if (view !== undefined) return view
    throw new LoopatError('loop_not_found', `loop ${loopId} no longer exists`, { next: 'Run: loopctl ls --all' })
  }

  /** Ids of the holds on a loop. */
  ids(loopId: string): string[] {
    return [...(this.#held.get(loopId)?.keys() ?? [])]
  }

  /** Ends holds, on disk first. @throws `storage_failed` */
  async end(loopId: string, ids: readonly string[]): Promise<void> {
    await this.#store.change(loopId, (record) =>
      withHolds(
        record,
        (record.holds ?? []).filter(({ id }) => !ids.includes(id)),
      ),
    )
    for (const id of ids) this.#held.get(loopId)?.get(id)?.release()
  }

  #take(loopId: string, { id, since, reason }: IdleHold, ttlMs: number): void {
    const holds = this.#held.get(loopId) ?? new Map<string, Lease>()
    const request = { owner: 'hold', reason, passive: true, ttlMs, restored: { id, since } }
    this.#held.set(loopId, holds.set(id, this.#register.acquire(loopId, request)))
  }

  /** Those that still hold: what is over need not stay on disk. */
  #inForce(loopId: string, holds: readonly IdleHold[] = []): IdleHold[] {
    return holds.filter(({ id }) => this.#held.get(loopId)?.has(id))
  }

  /** A hold whose time is over leaves the disk, too; while that cannot be written, its time keeps it from coming back. */
  #over(loopId: string, id: string): void {
    const { holds = [] } = this.#store.get(loopId)
    if (!holds.some((hold) => hold.id === id)) return
    const drop = this.#store.change(loopId, (record) =>
      withHolds(
        record,
        (record.holds ?? []).filter((hold) => hold.id !== id),
      ),
    )
    drop.catch((error: unknown) => this.#log.warn({ loop: loopId, err: error }, 'the end of a hold cannot be noted'))
  }
}

function withHolds<T extends { holds?: IdleHold[] | undefined }>(record: T, holds: IdleHold[]): T {
  const { holds: _holds, ...rest } = record
  return { ...(rest as T), ...(holds.length === 0 ? {} : { holds }) }
}
