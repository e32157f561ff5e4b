import type { EngineState, ResultOf } from '@loopatd/protocol'
import type { Engine, EngineInfo } from '../engine/engine.ts'
import { isEngineError } from '../engine/engine.ts'
import { checkEngine } from './check-engine.ts'
import { checkHost } from './check-host.ts'
import { checkPrograms } from './check-program.ts'
import { checkWorkspace, type WorkspaceFacts } from './check-workspace.ts'
import type { HostProbe } from './host-probe.ts'

/** Longest that podman may take to describe itself, in milliseconds. */
const INFO_MS = 10_000

/** What the service is made of. */
export interface DoctorServiceOptions {
  readonly probe: HostProbe
  readonly engine: Pick<Engine, 'info'>
  readonly engineState: () => EngineState
  /** Gathers the facts about the workspace. */
  readonly workspace: (signal: AbortSignal) => Promise<WorkspaceFacts>
}

/** Checks everything a loop needs on this host. */
export class DoctorService {
  readonly #options: DoctorServiceOptions

  constructor(options: DoctorServiceOptions) {
    this.#options = options
  }

  /** Runs all checks; see the contract. A check that fails is a result, not an error. */
  async run(_params: unknown, signal: AbortSignal): Promise<ResultOf<'doctor/run'>> {
    const { probe, engineState } = this.#options
    const [host, programs, info, facts] = await Promise.all([
      checkHost(probe),
      checkPrograms(probe),
      this.#info(signal),
      this.#options.workspace(signal),
    ])
    const checks = [...host, ...programs, ...checkEngine(engineState(), info), ...(await checkWorkspace(facts, probe))]
    return { ready: checks.every((check) => check.status !== 'failed'), checks }
  }

  async #info(signal: AbortSignal): Promise<EngineInfo | undefined> {
    try {
      return await this.#options.engine.info(AbortSignal.any([signal, AbortSignal.timeout(INFO_MS)]))
    } catch (error) {
      signal.throwIfAborted()
      if (isEngineError(error) || (error instanceof DOMException && error.name === 'TimeoutError')) return undefined
      throw error
    }
  }
}
