import { JOBS_KEPT } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../log.ts'
import { isOver, type JobRecord } from './job-record.ts'
import { lookAtJob, removeRoom } from './job-room.ts'
import type { JobStore } from './job-store.ts'

/** Milliseconds that a job that is removed has to write the rest of its logs, and between two looks for that. */
const DRAIN_MS = 2_000
const LOOK_MS = 50

/** What removal is made of. */
export interface JobRemovalOptions {
  readonly store: JobStore
  readonly clock: Clock
  readonly log: Logger
  /** Directory of a loop on the host that is `/loopat/run` inside. */
  readonly runOf: (loop: string) => string
}

/** Removes jobs that are over: their logs, then their records. */
export class JobRemoval {
  readonly #options: JobRemovalOptions

  constructor(options: JobRemovalOptions) {
    this.#options = options
  }

  /** Removes a job. @throws `storage_failed` */
  async remove({ loop, id, state }: JobRecord): Promise<void> {
    const { clock, log, runOf, store } = this.#options
    const place = { run: runOf(loop), id }
    const deadline = clock.monotonicMs() + (state === 'lost' ? 0 : DRAIN_MS)
    for (let sight = await lookAtJob(place); sight?.isComplete === false; sight = await lookAtJob(place)) {
      if (clock.monotonicMs() >= deadline) break
      await clock.sleep(LOOK_MS)
    }
    if (!(await removeRoom(place))) log.warn({ ...place }, 'something is left of the logs of a job')
    await store.remove(loop, id)
  }

  /** Removes all jobs of a loop that are over but the newest. @returns those. @throws `storage_failed` */
  async prune(loop: string): Promise<readonly JobRecord[]> {
    const { store } = this.#options
    if ((await store.count(loop)) <= JOBS_KEPT) return []
    const old = (await store.list(loop)).filter(isOver).slice(JOBS_KEPT)
    for (const record of old) await this.remove(record)
    return old
  }
}
