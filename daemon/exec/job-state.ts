import type { ContainerDetails } from '../engine/engine.ts'
import { isOver, type JobRecord } from './job-record.ts'
import type { JobSight } from './job-room.ts'

/**
 * What is known of the processes of a job: `stopped` when the run of the container that they belong to is over,
 * `unknown` when the engine does not tell.
 */
export type Liveness = 'alive' | 'gone' | 'stopped' | 'unknown'

/** Milliseconds that a job whose processes are gone has to leave a record of its end. */
export const EXIT_GRACE_MS = 3_000
/** Milliseconds after the end of a job in which what it wrote last comes into its logs. */
const DRAIN_MS = 2_000

/** Everything that the state of a job follows from. */
export interface JobFacts {
  readonly sight: JobSight | undefined
  readonly liveness: Liveness
  /** Milliseconds since its processes were first seen to be gone. */
  readonly goneMs: number
  readonly now: Date
}

/** Decides what has become of a job that ran. @returns the same record when nothing has */
export function judge(record: JobRecord, { sight, liveness, goneMs, now }: JobFacts): JobRecord {
  if (sight?.exit !== undefined) {
    return { ...record, state: 'exited', exitCode: sight.exit.code, endedAt: sight.exit.at.toISOString() }
  }
  const isLost = liveness === 'stopped' || (liveness === 'gone' && goneMs >= EXIT_GRACE_MS)
  if (!isLost) return liveness === 'alive' && record.state === 'starting' ? { ...record, state: 'running' } : record
  return {
    ...record,
    state: 'lost',
    reason: record.reason ?? whyLost(record, liveness, sight),
    endedAt: now.toISOString(),
  }
}

function whyLost({ state }: JobRecord, liveness: Liveness, sight: JobSight | undefined): string {
  if (liveness === 'stopped') return 'the loop was stopped'
  if (state === 'starting') return 'the daemon ended while it was started'
  if (sight === undefined) return 'its directory in /loopat/run is gone'
  return sight.strange ?? 'its processes were ended, and what watched over it as well'
}

/** Reports whether the run of a container that a job belongs to is over. */
export function isRunOver({ container: { id, startedAt } }: JobRecord, now: ContainerDetails | undefined): boolean {
  if (now === undefined || now.status === 'created' || now.status === 'exited') return true
  return (id !== undefined && id !== now.id) || (startedAt !== undefined && startedAt !== now.startedAt)
}

/** Reports whether nothing is added to the logs of a job any more. Children that it left behind do not count. */
export function isDrained(record: JobRecord, sight: JobSight | undefined, now: Date): boolean {
  if (!isOver(record)) return false
  const { state, endedAt } = record
  if (state === 'lost' || endedAt === undefined || sight === undefined || sight.isComplete) return true
  return Math.abs(now.getTime() - Date.parse(endedAt)) > DRAIN_MS
}
