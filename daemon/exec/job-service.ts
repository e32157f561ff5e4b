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
    const record = await this.#find(loop, job)
    if (isOver(record)) throw ended(record)
    signal.throwIfAborted()
    if (name === undefined) await this.#end(record, signal)
    else if (!(await this.#watch.send(record, name))) throw ended(record)
    return { job: infoOf(await this.#current(record)) }
  }

  async list({ loop }: CheckedParamsOf<'job/list'>, signal: AbortSignal): Promise<ResultOf<'job/list'>> {
    await this.#adopted
    const id = await this.#options.loops.resolve(loop)
    const jobs: JobInfo[] = []
    for (const record of await this.#store.list(id)) {
      signal.throwIfAborted()
      jobs.push(infoOf(await this.#current(record)))
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
      record = await this.#current(record)
      return isDrained(record, await lookAtJob(place), clock.now())
    }
    return await readLog({ place, isDrained: isAllWritten, clock }, params, signal)
  }

  async remove(
    { loop, job, force }: CheckedParamsOf<'job/remove'>,
    signal: AbortSignal,
  ): Promise<ResultOf<'job/remove'>> {
    const record = await this.#find(loop, job)
    if (!isOver(record)) {
      if (!force) {
        throw new LoopatError('job_running', `job ${job} still runs`, {
          next: `Run: loopctl job kill ${loop} ${job}`,
          details: { loop: record.loop, job },
        })
      }
      await this.#end(record, signal)
    }
    const last = await this.#current(record)
    await this.#removal.remove(last)
    this.#tell(last, true)
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
      const record = await this.#beginning.begin(use, params, AbortSignal.any([signal, stopped.signal]))
      this.#watch.add(record)
      this.#tell(record, false)
      for (const old of await this.#removal.prune(use.loopId)) this.#tell(old, true)
      return { job: infoOf(record) }
    } finally {
      use.release()
    }
  }

  async wait({ loop, job }: CheckedParamsOf<'job/wait'>, signal: AbortSignal): Promise<ResultOf<'job/wait'>> {
    let record = await this.#find(loop, job)
    while (!isOver(record)) {
      const ended = await this.#watch.ended(record, signal)
      // One that begins is not watched yet.
      if (ended === undefined) await this.#options.clock.sleep(BEGIN_MS, signal)
      record = ended ?? (await this.#find(record.loop, record.id))
    }
    return { job: infoOf(record) }
  }

  /** Stops watching; the jobs run on. */
  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]()
  }

  /** Takes back a job that may have begun. One that podman does not let us reach is watched: it runs, or was lost. */
  async #undo(record: JobRecord): Promise<void> {
    try {
      await this.#watch.send(record, 'SIGKILL')
    } catch (error) {
      if (!isEngineError(error)) throw error
      this.#watch.add(record)
      return
    }
    await this.#removal.remove(record)
  }

  async #end(record: JobRecord, signal: AbortSignal): Promise<void> {
    await this.#watch.end(record, 'it was killed by a client', signal)
  }

  /** @throws `job_not_found`, `loop_not_found`, `ambiguous_loop`, `storage_failed` */
  async #find(ref: string, id: string): Promise<JobRecord> {
    await this.#adopted
    const loop = await this.#options.loops.resolve(ref)
    const record = await this.#store.read(loop, id)
    if (record !== undefined) return await this.#current(record)
    throw new LoopatError('job_not_found', `loop "${ref}" has no job ${id}`, {
      next: `Run: loopctl job ls ${ref}`,
      details: { loop, job: id },
    })
  }

  /** A job as it is now. */
  async #current(record: JobRecord): Promise<JobRecord> {
    if (isOver(record)) return record
    const watched = await this.#watch.look(record)
    if (watched !== undefined) return watched
    const stored = (await this.#store.read(record.loop, record.id)) ?? record
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
