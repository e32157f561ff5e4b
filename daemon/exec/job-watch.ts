import { type JobSignal, LoopatError } from '@loopatd/protocol'
import type { Lease, LeaseRequest } from '../idle/lease.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../log.ts'
import { endJob } from './job-kill.ts'
import { JobReach, type JobReachOptions } from './job-reach.ts'
import { isOver, type JobRecord } from './job-record.ts'
import { type JobSight, lookAtJob } from './job-room.ts'
import { judge, type Liveness } from './job-state.ts'
import type { JobStore } from './job-store.ts'

/** Milliseconds between two looks at all jobs that run, and per job when there are many. */
const LOOK_MS = 1_000
const LOOK_MS_PER_JOB = 10
/** Milliseconds between two looks at a job that somebody waits for: at first, and at most. */
const WAIT_MS = { first: 10, most: 100 } as const
/** Longest reason of a lease, in characters. */
const REASON_LENGTH = 80

/** What the watch is made of. */
export interface JobWatchOptions extends JobReachOptions {
  readonly store: JobStore
  readonly leases: { acquire(loopId: string, request: LeaseRequest): Lease }
  readonly clock: Clock
  readonly log: Logger
  /** Called with a job that has ended. */
  readonly onEnd: (record: JobRecord) => void
}

interface Watched {
  record: JobRecord
  lease: Lease | undefined
  /** Since when its processes are known to be gone, on the monotonic clock. */
  goneSince: number | undefined
  looking: Promise<void> | undefined
  isStopping: boolean
}

/** Jobs that run, as far as this daemon knows: keeps their loops awake and notices their ends. */
export class JobWatch implements Disposable {
  readonly #options: JobWatchOptions
  readonly #reach: JobReach
  readonly #watched = new Map<string, Watched>()
  readonly #closed = new AbortController()
  #isRunning = false

  constructor(options: JobWatchOptions) {
    this.#options = options
    this.#reach = new JobReach(options)
  }

  /** Begins to watch a job; takes its lease. Does nothing when it is watched already. */
  add(record: JobRecord): void {
    const key = keyOf(record)
    if (this.#watched.has(key) || this.#closed.signal.aborted) return
    const watched: Watched = { record, lease: undefined, goneSince: undefined, looking: undefined, isStopping: false }
    this.#watched.set(key, watched)
    if (record.keepalive) {
      const reason = record.command.join(' ').slice(0, REASON_LENGTH)
      const end = () => this.#stop(watched)
      watched.lease = this.#options.leases.acquire(record.loop, { owner: 'job', reason, end })
    }
    if (!this.#isRunning) this.#inBackground(this.#run())
  }

  /** Reports whether a job is watched. */
  has(job: Pick<JobRecord, 'loop' | 'id'>): boolean {
    return this.#watched.has(keyOf(job))
  }

  /** Looks at a job now. @returns undefined when it is not watched. @throws `storage_failed` */
  async look({ loop, id }: Pick<JobRecord, 'loop' | 'id'>): Promise<JobRecord | undefined> {
    const watched = this.#watched.get(keyOf({ loop, id }))
    if (watched === undefined) return undefined
    await this.#look(watched)
    return watched.record
  }

  /**
   * Waits until a job that is watched is over.
   * @returns undefined when it is not watched
   * @throws `storage_failed`, `daemon_stopping`, the reason of the signal
   */
  async ended(job: Pick<JobRecord, 'loop' | 'id'>, signal: AbortSignal): Promise<JobRecord | undefined> {
    const gone = AbortSignal.any([signal, this.#closed.signal])
    gone.throwIfAborted()
    const watched = this.#watched.get(keyOf(job))
    if (watched === undefined) return undefined
    for (let pause: number = WAIT_MS.first; ; pause = Math.min(2 * pause, WAIT_MS.most)) {
      // Whoever else looked at it may have seen its end meanwhile.
      await this.look(job)
      gone.throwIfAborted()
      if (isOver(watched.record)) return watched.record
      await this.#options.clock.sleep(pause, gone)
    }
  }

  /** Sends one signal to a job. @throws EngineError */
  async send(record: JobRecord, signal: JobSignal): Promise<boolean> {
    return await (await this.#reach.reach(record)).send(signal)
  }

  /**
   * Ends a job that is watched, and waits for its end.
   * @param reason what is said of why it ended
   * @throws EngineError, `storage_failed`, the reason of the signal
   */
  async end(job: JobRecord, reason: string, signal?: AbortSignal): Promise<void> {
    const watched = this.#watched.get(keyOf(job))
    if (watched !== undefined) watched.record = { ...watched.record, reason: watched.record.reason ?? reason }
    const reached = await this.#reach.reach(job)
    const isJobOver = async () => isOver((await this.look(job)) ?? { state: 'lost' })
    const until = signal === undefined ? this.#closed.signal : AbortSignal.any([signal, this.#closed.signal])
    await endJob({ ...reached, isOver: isJobOver }, this.#options.clock, until)
  }

  /** Lets go of all jobs, which run on. */
  [Symbol.dispose](): void {
    this.#closed.abort(new LoopatError('daemon_stopping', 'the daemon stops; the job runs on'))
    for (const { lease } of this.#watched.values()) lease?.release()
    this.#watched.clear()
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    try {
      while (this.#watched.size > 0) {
        for (const watched of [...this.#watched.values()]) await this.#look(watched).catch((err) => this.#complain(err))
        const pause = Math.max(LOOK_MS, LOOK_MS_PER_JOB * this.#watched.size)
        await this.#options.clock.sleep(pause, this.#closed.signal)
      }
    } finally {
      this.#isRunning = false
    }
  }

  /** Those who look at the same time share one look. One that was seen to end is not looked at again. */
  async #look(watched: Watched): Promise<void> {
    if (this.#watched.get(keyOf(watched.record)) !== watched) return
    watched.looking ??= this.#lookOnce(watched).finally(() => {
      watched.looking = undefined
    })
    await watched.looking
  }

  async #lookOnce(watched: Watched): Promise<void> {
    const { clock, runOf } = this.#options
    const place = { run: runOf(watched.record.loop), id: watched.record.id }
    let sight = await lookAtJob(place)
    const liveness = sight?.exit === undefined ? await this.#feel(watched, sight) : 'gone'
    if (liveness === 'gone') watched.goneSince ??= clock.monotonicMs()
    else watched.goneSince = undefined
    // It may have ended between the two looks.
    if (sight?.exit === undefined && liveness !== 'alive') sight = await lookAtJob(place)
    const goneMs = clock.monotonicMs() - (watched.goneSince ?? clock.monotonicMs())
    const before = watched.record
    watched.record = judge(before, { sight, liveness, goneMs, now: clock.now() })
    if (isOver(watched.record)) await this.#close(watched)
    else if (watched.record.state !== before.state) await this.#options.store.write(watched.record)
  }

  async #feel(watched: Watched, sight: JobSight | undefined): Promise<Liveness> {
    const { liveness, found } = await this.#reach.feel(watched.record, sight)
    if (found.process === undefined) return liveness
    watched.record = { ...watched.record, ...found }
    await this.#options.store.write(watched.record)
    return liveness
  }

  /** Watched until it is written: whoever asks meanwhile waits. Should that fail, whoever asks next tries again. */
  async #close({ record, lease }: Watched): Promise<void> {
    lease?.release()
    try {
      if (await this.#options.store.write(record)) this.#options.onEnd(record)
    } finally {
      this.#watched.delete(keyOf(record))
    }
  }

  /** The loop is about to stop: the job is ended, so that how it ended is known. */
  #stop(watched: Watched): void {
    if (watched.isStopping) return
    watched.isStopping = true
    const end = this.end(watched.record, 'the loop was stopped').finally(() => {
      watched.isStopping = false
    })
    this.#inBackground(end)
  }

  /** Work that nobody waits for: its failure is logged. */
  #inBackground(work: Promise<void>): void {
    work.catch((err: unknown) => this.#complain(err))
  }

  #complain(err: unknown): void {
    if (!this.#closed.signal.aborted) this.#options.log.error({ err }, 'could not watch over a job')
  }
}

function keyOf({ loop, id }: Pick<JobRecord, 'loop' | 'id'>): string {
  return `${loop}/${id}`
}
