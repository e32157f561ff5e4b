import { type CheckedParamsOf, isLoopatError, type JobInfo, LoopatError, type ResultOf } from '@loopatd/protocol'
import { isEngineError } from '../engine/engine.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { LoopAccess } from './exec-access.ts'
import { JobBeginning } from './job-begin.ts'
import type { LaunchTools } from './job-launch.ts'
import { readLog } from './job-log.ts'
import { infoOf, isOver, type JobRecord, shortCommand } from './job-record.ts'
import { JobRemoval } from './job-removal.ts'
import { type JobPlace, lookAtJob } from './job-room.ts'
import { isDrained } from './job-state.ts'
import { JobStore } from './job-store.ts'
import { JobWatch, type JobWatchOptions } from './job-watch.ts'

/** Milliseconds between two looks at a job that somebody waits for and that has not begun yet. */
const BEGIN_MS = 100
/** What is said of a job that a client has ended. */
const KILLED = 'it was killed by a client'

/** What jobs need of the loops. */
export interface JobLoops extends LoopAccess {
  /** Resolves a loop reference. @throws `loop_not_found`, `ambiguous_loop` */
  resolve(ref: string): Promise<string>
}

/** What the service is made of. */
export interface JobServiceOptions extends LaunchTools, Omit<JobWatchOptions, 'store' | 'onEnd'> {
  readonly loops: JobLoops
  /** Ids of all loops. */
  readonly loopIds: () => Promise<readonly string[]>
  /** Directory of the records of a loop's jobs. */
  readonly recordsOf: (loop: string) => string
  readonly onChange: (change: { readonly job: JobInfo; readonly removed: boolean }) => void
}

/** Jobs: commands in loops that outlive their clients and this daemon. */
export class JobService implements Disposable {
  readonly #options: JobServiceOptions
  readonly #store: JobStore
  readonly #watch: JobWatch
  readonly #removal: JobRemoval
  readonly #beginning: JobBeginning
  #adopted: Promise<void> = Promise.resolve()

  constructor(options: JobServiceOptions) {
    this.#options = options
    this.#store = new JobStore(options.recordsOf)
    this.#watch = new JobWatch({ ...options, store: this.#store, onEnd: (record) => this.#tell(record, false) })
    this.#removal = new JobRemoval({ ...options, store: this.#store })
    this.#beginning = new JobBeginning({
      ...options,
      store: this.#store,
      undo: (record) => this.#undo(record),
    })
  }

  /** Begins to take up the jobs that a daemon before this one has left; whatever else is called waits for it. */
  open(): void {
    this.#adopted = this.#adopt().catch((err: unknown) => {
      this.#options.log.error({ err }, 'could not take up jobs')
    })
  }

  /** Resolves when the jobs of the daemon before have their leases again. Never rejects. */
  get adopted(): Promise<void> {
    return this.#adopted
  }

  /** @see `job/get` of the contract, as for all that follow */
  async get({ loop, job }: CheckedParamsOf<'job/get'>, signal: AbortSignal): Promise<ResultOf<'job/get'>> {
    const record = await this.#find(loop, job)
    signal.throwIfAborted()
    return { job: infoOf(record) }
  }

  async kill(
    { loop, job, signal: name }: CheckedParamsOf<'job/kill'>,
    signal: AbortSignal,
  ): Promise<ResultOf<'job/kill'>> {
    const record = await this.#findBegun(loop, job, signal)
    if (isOver(record)) throw ended(record)
    signal.throwIfAborted()
    if (name === undefined) await this.#watch.end(record, KILLED, signal)
    else if (!(await this.#watch.send(record, name))) throw ended(record)
    return { job: infoOf(await this.#find(record.loop, job)) }
  }

  async list({ loop }: CheckedParamsOf<'job/list'>, signal: AbortSignal): Promise<ResultOf<'job/list'>> {
    await this.#adopted
    const id = await this.#options.loops.resolve(loop)
    const jobs: JobInfo[] = []
    for (const record of await this.#store.list(id)) {
      signal.throwIfAborted()
      const current = await this.#current(record)
      if (current !== undefined) jobs.push(infoOf(current))
    }
    return { jobs }
  }

  async logs(params: CheckedParamsOf<'job/logs'>, signal: AbortSignal): Promise<ResultOf<'job/logs'>> {
    const { offset, tailBytes } = params
    if (offset !== undefined && tailBytes !== undefined) {
      throw new LoopatError('invalid_params', 'job/logs: offset and tailBytes exclude each other')
    }
    const { clock } = this.#options
    let record = await this.#find(params.loop, params.job)
    const place = this.#placeOf(record)
    const isAllWritten = async () => {
      record = await this.#find(record.loop, record.id)
      return isDrained(record, await lookAtJob(place), clock.now())
    }
    return await readLog({ place, isDrained: isAllWritten, clock }, params, signal)
  }

  async remove(
    { loop, job, force }: CheckedParamsOf<'job/remove'>,
    signal: AbortSignal,
  ): Promise<ResultOf<'job/remove'>> {
    const record = await this.#findBegun(loop, job, signal)
    if (!isOver(record) && !force) {
      throw new LoopatError('job_running', `job ${job} still runs`, {
        next: `Run: loopctl job kill ${loop} ${job}`,
        details: { loop: record.loop, job },
      })
    }
    await this.#forget(record, KILLED, signal)
    return {}
  }

  async start(
    params: CheckedParamsOf<'job/start'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ResultOf<'job/start'>> {
    await this.#adopted
    const stopped = new AbortController()
    const end = () => stopped.abort(new LoopatError('loop_not_running', 'the loop was stopped while the job began'))
    const request = {
      start: params.start,
      owner: 'job',
      reason: shortCommand(params.command).join(' ').slice(0, 80),
      end,
    }
    const use = await this.#options.loops.use(params.loop, request, onProgress, signal)
    try {
      const gone = AbortSignal.any([signal, stopped.signal])
      const record = await this.#beginning.begin(use, params, gone)
      this.#watch.add(record)
      // Others may have seen it.
      if (gone.aborted) await this.#forget(record, 'its start was cancelled')
      gone.throwIfAborted()
      this.#tell(record, false)
      await this.#prune(use.loopId)
      return { job: infoOf(record) }
    } finally {
      use.release()
    }
  }

  async wait({ loop, job }: CheckedParamsOf<'job/wait'>, signal: AbortSignal): Promise<ResultOf<'job/wait'>> {
    let record = await this.#findBegun(loop, job, signal)
    while (!isOver(record)) {
      record = (await this.#watch.ended(record, signal)) ?? (await this.#findBegun(record.loop, job, signal))
    }
    return { job: infoOf(record) }
  }

  /** Stops watching; the jobs run on. */
  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]()
  }

  /** Takes back a job that may have begun. One that cannot be reached or removed is watched: it runs, or was lost. */
  async #undo(record: JobRecord): Promise<void> {
    try {
      await this.#watch.send(record, 'SIGKILL')
      await this.#removal.remove(record)
    } catch (error) {
      this.#watch.add(record)
      if (!isEngineError(error)) throw error
    }
  }

  /** Removes a job; one that runs is ended before. */
  async #forget(record: JobRecord, reason: string, signal?: AbortSignal): Promise<void> {
    if (!isOver(record)) await this.#watch.end(record, reason, signal)
    // Somebody else may have removed it meanwhile.
    const last = (await this.#current(record)) ?? record
    await this.#removal.remove(last)
    this.#tell(last, true)
  }

  /** Removes old jobs of a loop in which one has begun, which runs whatever becomes of that. */
  async #prune(loop: string): Promise<void> {
    try {
      for (const old of await this.#removal.prune(loop)) this.#tell(old, true)
    } catch (error) {
      if (!isLoopatError(error, 'storage_failed')) throw error
      this.#options.log.warn({ loop, err: error }, 'could not remove old jobs of a loop')
    }
  }

  /** @throws `job_not_found`, `loop_not_found`, `ambiguous_loop`, `storage_failed` */
  async #find(ref: string, id: string): Promise<JobRecord> {
    await this.#adopted
    const loop = await this.#options.loops.resolve(ref)
    const record = await this.#store.read(loop, id)
    const current = record && (await this.#current(record))
    if (current !== undefined) return current
    throw new LoopatError('job_not_found', `loop "${ref}" has no job ${id}`, {
      next: `Run: loopctl job ls ${ref}`,
      details: { loop, job: id },
    })
  }

  /** Finds a job, and waits while it begins: until it is watched, it cannot be ended. @throws as {@link #find} does */
  async #findBegun(ref: string, id: string, signal: AbortSignal): Promise<JobRecord> {
    let record = await this.#find(ref, id)
    while (record.state === 'starting' && !this.#watch.has(record)) {
      await this.#options.clock.sleep(BEGIN_MS, signal)
      record = await this.#find(record.loop, id)
    }
    return record
  }

  /** A job as it is now; undefined when it was removed meanwhile. */
  async #current(record: JobRecord): Promise<JobRecord | undefined> {
    if (isOver(record)) return record
    const watched = await this.#watch.look(record)
    if (watched !== undefined) return watched
    const stored = await this.#store.read(record.loop, record.id)
    if (stored === undefined) return undefined
    // One that begins is not watched yet. One that runs and is not watched could not be written when it ended.
    if (stored.state === 'running') this.#watch.add(stored)
    return (await this.#watch.look(stored)) ?? stored
  }

  async #adopt(): Promise<void> {
    for (const loop of await this.#options.loopIds()) {
      try {
        await this.#store.recover(loop)
        for (const record of await this.#store.list(loop)) if (!isOver(record)) this.#watch.add(record)
      } catch (error) {
        if (!isLoopatError(error, 'storage_failed')) throw error
        this.#options.log.warn({ loop, err: error }, 'could not take up the jobs of a loop')
      }
    }
  }

  #placeOf({ loop, id }: JobRecord): JobPlace {
    return { run: this.#options.runOf(loop), id }
  }

  #tell(record: JobRecord, removed: boolean): void {
    this.#options.onChange({ job: infoOf(record), removed })
  }
}

function ended({ id, loop, state, exitCode }: JobRecord): LoopatError {
  const how = state === 'exited' ? `has ended with exit code ${exitCode}` : 'has ended'
  return new LoopatError('job_ended', `job ${id} ${how}`, { details: { loop, job: id } })
}
