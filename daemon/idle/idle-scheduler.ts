import type { IdleNext, IdleWindow } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../log.ts'
import { dueOf, explain, type IdleFacts, retryPause } from './idle-decision.ts'
import type { LeaseEvent, LeaseRegister } from './lease.ts'
import { Timetable } from './timetable.ts'

/** Loops that are put to sleep at the same time: those that run must not feel it. */
const PARALLEL = 4

/** What came of putting a loop to sleep: `kept` when it was in use again, or is gone. */
export type SleepOutcome = 'stopped' | 'kept'

/** What the scheduler is made of. */
export interface IdleSchedulerOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly leases: LeaseRegister
  /** The window of a loop, as it is now. */
  readonly windowOf: (loopId: string) => IdleWindow
  /**
   * Stops a loop under its lock, if it is still to sleep then.
   * @throws what keeps it from being stopped; it is tried again later
   */
  readonly sleep: (loopId: string, isStillIdle: () => boolean, signal: AbortSignal) => Promise<SleepOutcome>
  /** Is told when the last activity of a loop has changed. Must not throw. */
  readonly onActivity: (loopId: string, activity: Activity) => void
  /** Since when a container that has just been seen running is idle, in monotonic milliseconds. */
  readonly idleSince: (loopId: string, startedAt: string) => number
}

/** The last activity of a loop. */
export interface Activity {
  readonly at: Date
  /** Monotonic milliseconds. */
  readonly awakeMs: number
  readonly what: string
  readonly startedAt: string | undefined
  /** Whether it goes on. */
  readonly isHeld: boolean
}

/** A stop that failed. */
export interface SleepFailure {
  readonly at: Date
  readonly message: string
  readonly attempts: number
  /** Monotonic milliseconds. */
  readonly retryAt: number
}

interface Cell {
  /** The run of its container; undefined while it does not run. */
  startedAt: string | undefined
  idleSince: number
  failure: SleepFailure | undefined
}

/** Puts loops to sleep (rules ): each exactly when it has been without a lease for its window. */
export class IdleScheduler implements AsyncDisposable {
  readonly #options: IdleSchedulerOptions
  readonly #cells = new Map<string, Cell>()
  readonly #timetable: Timetable
  readonly #waiting = new Set<string>()
  readonly #firing = new Map<string, Promise<void>>()
  readonly #closed = new AbortController()
  readonly #stopWatching: () => void
  #begun = false

  constructor(options: IdleSchedulerOptions) {
    this.#options = options
    this.#timetable = new Timetable(options.clock, (loopId) => this.#due(loopId))
    this.#stopWatching = options.leases.watch((event) => this.#leaseChanged(event))
  }

  /** Begins to put loops to sleep. Before that, whatever outlived a restart may take its leases again. */
  begin(): void {
    this.#begun = true
    for (const loopId of this.#cells.keys()) this.rearm(loopId)
  }

  /**
   * Notes what is known of a container.
   * @param startedAt names its run; undefined when it does not run
   */
  container(loopId: string, startedAt: string | undefined): void {
    const cell = this.#cells.get(loopId)
    if (cell?.startedAt === startedAt) return
    if (startedAt === undefined) {
      this.#cells.delete(loopId)
      this.#timetable.delete(loopId)
      return
    }
    const now = this.#options.clock.monotonicMs()
    const idleSince = this.#options.idleSince(loopId, startedAt)
    this.#cells.set(loopId, { startedAt, idleSince, failure: undefined })
    if (idleSince >= now) this.#note(loopId, 'it was started')
    this.rearm(loopId)
  }

  /** Looks again when a loop is to sleep, as after a change of its window. */
  rearm(loopId: string): void {
    const due = dueOf(this.facts(loopId))
    if (due === undefined || !this.#begun || this.#waiting.has(loopId) || this.#firing.has(loopId)) {
      this.#timetable.delete(loopId)
    } else {
      this.#timetable.set(loopId, due)
    }
  }

  /** What decides when a loop sleeps. */
  facts(loopId: string): IdleFacts {
    const { leases, windowOf } = this.#options
    const cell = this.#cells.get(loopId)
    return {
      isRunning: cell !== undefined,
      leases: leases.count(loopId),
      window: windowOf(loopId),
      idleSince: cell?.idleSince ?? 0,
      notBefore: cell?.failure?.retryAt ?? Number.NEGATIVE_INFINITY,
    }
  }

  /** What happens next, for people. */
  next(loopId: string): IdleNext {
    const { clock } = this.#options
    return explain(this.facts(loopId), { monotonicMs: clock.monotonicMs(), date: clock.now() })
  }

  /** Why a loop could not be put to sleep; undefined when that did not happen since it was last in use. */
  failure(loopId: string): SleepFailure | undefined {
    return this.#cells.get(loopId)?.failure
  }

  /** How many loops run. */
  get running(): number {
    return this.#cells.size
  }

  /** Reports whether a loop runs. */
  isRunning(loopId: string): boolean {
    return this.#cells.has(loopId)
  }

  /** Reports whether a loop runs, nobody uses it, and it may sleep. None may before {@link begin}. */
  isIdle(loopId: string): boolean {
    return this.#begun && dueOf(this.facts(loopId)) !== undefined
  }

  /** Loops that are idle, the longest first. */
  idle(): string[] {
    const idle = [...this.#cells].filter(([id]) => this.isIdle(id))
    return idle.sort(([, a], [, b]) => a.idleSince - b.idleSince).map(([id]) => id)
  }

  /** Ends the timers and what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#begun = false
    this.#stopWatching()
    this.#timetable[Symbol.dispose]()
    this.#waiting.clear()
    this.#closed.abort(new Error('the idle scheduler was closed'))
    await Promise.all(this.#firing.values())
  }

  #leaseChanged({ loopId, lease }: LeaseEvent): void {
    const cell = this.#cells.get(loopId)
    if (cell !== undefined) {
      cell.idleSince = this.#options.clock.monotonicMs()
      cell.failure = undefined
    }
    this.#note(loopId, `${lease.owner}: ${lease.reason}`)
    this.rearm(loopId)
  }

  #note(loopId: string, what: string): void {
    const { clock, leases, onActivity } = this.#options
    onActivity(loopId, {
      at: clock.now(),
      awakeMs: clock.monotonicMs(),
      what,
      startedAt: this.#cells.get(loopId)?.startedAt,
      isHeld: leases.count(loopId) > 0,
    })
  }

  #due(loopId: string): void {
    this.#waiting.add(loopId)
    this.#fireNext()
  }

  #fireNext(): void {
    for (const loopId of this.#waiting) {
      if (this.#firing.size >= PARALLEL) return
      this.#waiting.delete(loopId)
      const done = this.#fire(loopId).finally(() => {
        this.#firing.delete(loopId)
        this.rearm(loopId)
        this.#fireNext()
      })
      this.#firing.set(loopId, done)
    }
  }

  async #fire(loopId: string): Promise<void> {
    const { sleep, log } = this.#options
    const isStillIdle = () => {
      const due = dueOf(this.facts(loopId))
      return due !== undefined && due <= this.#options.clock.monotonicMs()
    }
    if (!isStillIdle()) return
    try {
      const outcome = await sleep(loopId, isStillIdle, this.#closed.signal)
      // Not in use, not stopped: what is known of it is not what is there, and will be put right before the next attempt.
      if (isStillIdle()) this.#failed(loopId, `it was ${outcome}, and runs all the same`)
    } catch (error) {
      if (this.#closed.signal.aborted) return
      log.warn({ loop: loopId, err: error }, 'an idle loop cannot be stopped; it is tried again later')
      this.#failed(loopId, error instanceof Error ? error.message : String(error))
    }
  }

  #failed(loopId: string, message: string): void {
    const cell = this.#cells.get(loopId)
    if (cell === undefined) return
    const attempts = (cell.failure?.attempts ?? 0) + 1
    const { clock } = this.#options
    const retryAt = clock.monotonicMs() + retryPause(attempts)
    cell.failure = { at: clock.now(), message, attempts, retryAt }
  }
}
