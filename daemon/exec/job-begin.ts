import { randomBytes } from 'node:crypto'
import type { CheckedParamsOf } from '@loopatd/protocol'
import type { ContainerEngine } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'
import type { LoopUse } from './exec-access.ts'
import { type LaunchTools, launchJob } from './job-launch.ts'
import { findLeader } from './job-process.ts'
import { type JobRecord, shortCommand } from './job-record.ts'
import type { JobStore } from './job-store.ts'

type Params = CheckedParamsOf<'job/start'>

/** What the beginning of jobs is made of. */
export interface JobBeginningOptions extends LaunchTools {
  readonly engine: { readonly container: Pick<ContainerEngine, 'inspect'> }
  readonly clock: Clock
  readonly store: JobStore
  /** Takes back a job that may have begun. */
  readonly undo: (record: JobRecord) => Promise<void>
}

/** Begins jobs: the record comes first, so that a daemon that is killed meanwhile finds the job again. */
export class JobBeginning {
  readonly #options: JobBeginningOptions

  constructor(options: JobBeginningOptions) {
    this.#options = options
  }

  /**
   * Begins a job in a loop that is in use.
   * @throws as `launchJob` does, EngineError, the reason of the signal; there is then no job
   */
  async begin(use: LoopUse, params: Params, signal: AbortSignal): Promise<JobRecord> {
    const { engine, store, undo } = this.#options
    const { id, startedAt, pid = 0 } = (await engine.container.inspect(use.container, signal)) ?? {}
    const record = this.#recordOf(use, params, { ...optional('id', id), ...optional('startedAt', startedAt) })
    await store.prepare(use.loopId)
    await store.write(record)
    try {
      const { command, cwd, env, maxLogBytes, loop } = params
      const launch = { id: record.id, loop, command, cwd, env, maxLogBytes }
      const session = await launchJob(this.#options, use, launch, signal)
      const leader = await findLeader({ id: session, containerPid: pid })
      const begun: JobRecord = { ...record, state: 'running', session, ...optional('process', leader) }
      signal.throwIfAborted()
      await store.write(begun)
      return begun
    } catch (error) {
      await undo(record)
      throw error
    }
  }

  #recordOf(use: LoopUse, params: Params, run: Omit<JobRecord['container'], 'name'>): JobRecord {
    return {
      version: 1,
      id: randomBytes(4).toString('hex'),
      loop: use.loopId,
      command: shortCommand(params.command),
      ...optional('cwd', params.cwd),
      keepalive: params.keepalive,
      maxLogBytes: params.maxLogBytes,
      startedAt: this.#options.clock.now().toISOString(),
      state: 'starting',
      container: { name: use.container, ...run },
    }
  }
}

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V })
}
