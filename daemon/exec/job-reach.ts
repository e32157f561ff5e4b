import type { JobSignal } from '@loopatd/protocol'
import { type ContainerDetails, type ContainerEngine, isEngineError } from '../engine/engine.ts'
import { hasSession, JOB_MARK, type Session, signalSession } from './agent-session.ts'
import { findLeader, isAlive } from './job-process.ts'
import type { JobRecord } from './job-record.ts'
import { type JobSight, lookAtJob } from './job-room.ts'
import { isRunOver, type Liveness } from './job-state.ts'

/** What is needed to reach jobs. */
export interface JobReachOptions {
  readonly engine: { readonly container: Pick<ContainerEngine, 'inspect'> }
  /** Directory of a loop on the host that is `/loopat/run` inside. */
  readonly runOf: (loop: string) => string
}

/** Processes of a job, as they were when it was reached. */
export interface ReachedJob {
  /** Sends a signal. @returns whether there was anything to send it to */
  send(signal: JobSignal): Promise<boolean>
  /** Reports whether a process is left. */
  hasRest(): Promise<boolean>
}

/** What was found out about the processes of a job. */
export interface JobPulse {
  readonly liveness: Liveness
  /** What the record of the job did not say yet. */
  readonly found: Pick<JobRecord, 'session' | 'process'>
}

/** Looks for the processes of jobs on this host. */
export class JobReach {
  readonly #options: JobReachOptions

  constructor(options: JobReachOptions) {
    this.#options = options
  }

  /**
   * Reaches a job, to signal it. One whose container does not run has no processes.
   * @throws EngineError
   */
  async reach({ session, loop, id, container }: JobRecord): Promise<ReachedJob> {
    const known = session ?? (await lookAtJob({ run: this.#options.runOf(loop), id }))?.session
    const containerPid = (await this.#options.engine.container.inspect(container.name))?.pid ?? 0
    if (containerPid === 0) return { send: async () => false, hasRest: async () => false }
    const all: Session = { id: known, containerPid, mark: markOf(id) }
    return { send: (signal) => signalSession(all, signal), hasRest: () => hasSession(all) }
  }

  /** Finds out whether a job that has left no record of its end still runs. */
  async feel(record: JobRecord, sight: JobSight | undefined): Promise<JobPulse> {
    const found = {}
    if (record.process !== undefined && (await isAlive(record.process))) return { liveness: 'alive', found }
    const container = await this.#inspect(record)
    if (container === 'unknown') return { liveness: 'unknown', found }
    if (isRunOver(record, container)) return { liveness: 'stopped', found }
    const session = record.session ?? sight?.session
    if (record.process !== undefined || session === undefined) return { liveness: 'gone', found }
    const process = await findLeader({ id: session, containerPid: container?.pid ?? 0 })
    return process === undefined ? { liveness: 'gone', found } : { liveness: 'alive', found: { session, process } }
  }

  async #inspect({ container }: JobRecord): Promise<ContainerDetails | undefined | 'unknown'> {
    try {
      return await this.#options.engine.container.inspect(container.name)
    } catch (error) {
      if (isEngineError(error)) return 'unknown'
      throw error
    }
  }
}

/** What the job's program marks the command with. */
function markOf(id: string): string {
  return `${JOB_MARK}${id}`
}
