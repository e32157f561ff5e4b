import { randomUUID } from 'node:crypto'
import type { LeaseInfo } from '@loopatd/protocol'
import type { z } from 'zod'
import type { Clock } from '../lib/clock.ts'

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
}

/** Keeps a loop awake until it is released. */
export interface Lease extends Disposable {
  readonly id: string
  /** Gives the lease back. Later calls do nothing. */
  release(): void
}

interface Held extends LeaseRequest {
  readonly id: string
  readonly loopId: string
  readonly since: string
}

/** Who uses which loop now (rules ). A loop without a lease may sleep. */
export class LeaseRegister {
  readonly #clock: Clock
  readonly #held = new Map<string, Held>()
  readonly #watchers = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Takes a lease on a loop. */
  acquire(loopId: string, request: LeaseRequest): Lease {
    const id = randomUUID()
    this.#held.set(id, { ...request, id, loopId, since: this.#clock.now().toISOString() })
    const release = () => {
      if (this.#held.delete(id)) for (const watcher of [...this.#watchers]) watcher()
    }
    return { id, release, [Symbol.dispose]: release }
  }

  /** Reports whether anybody holds a lease on a loop. */
  isHeld(loopId: string): boolean {
    for (const lease of this.#held.values()) if (lease.loopId === loopId) return true
    return false
  }

  /** The leases held on one loop, or on all of them, oldest first. */
  list(loopId?: string): z.infer<typeof LeaseInfo>[] {
    return this.#of(loopId).map(({ id, owner, reason, since }) => ({ id, owner, reason, since }))
  }

  /**
   * Asks every holder of a loop to let go and waits until all have, or until the grace is over. Comes before every
   * stop: an engine cannot stop a container while the output of a command in it is not read.
   * @param graceMs longest wait in milliseconds
   * @returns whether all were released
   * @throws the reason of the signal
   */
  async endAll(loopId: string, graceMs: number, signal?: AbortSignal): Promise<boolean> {
    for (const { end } of this.#of(loopId)) end?.()
    if (this.#of(loopId).length === 0) return true
    const over = new AbortController()
    const grace = this.#clock.sleep(
      graceMs,
      signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]),
    )
    let watcher: () => void = () => undefined
    const released = new Promise<void>((resolve) => {
      watcher = () => {
        if (this.#of(loopId).length === 0) resolve()
      }
    })
    this.#watchers.add(watcher)
    // The end of the sleep by our own hand is no failure.
    const quietly = grace.catch((error: unknown) => {
      if (!over.signal.aborted) throw error
    })
    try {
      await Promise.race([released, quietly])
    } finally {
      this.#watchers.delete(watcher)
      over.abort()
    }
    return this.#of(loopId).length === 0
  }

  #of(loopId: string | undefined): Held[] {
    return [...this.#held.values()].filter((lease) => loopId === undefined || lease.loopId === loopId)
  }
}
