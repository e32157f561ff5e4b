import type { EngineState } from '@loopatd/protocol'
import { type Engine, isEngineError } from './engine/engine.ts'
import type { Logger } from './log.ts'

/** Where the engine is, as the one who looks after its service tells it. */
export type ServiceState =
  | {
      readonly kind: 'up'
      readonly socketPath: string
      readonly isOurs: boolean
      /** Why it is not the one that somebody chose. */
      readonly warning?: string
    }
  | { readonly kind: 'down'; readonly reason: string }

/** What the report is made of. */
export interface EngineReportOptions {
  readonly engine: Pick<Engine, 'info'>
  readonly log: Logger
  /** Told of each change. Must not throw. */
  readonly onChange: (state: EngineState) => void
}

/** The state of the engine as clients see it. The version is asked for once per service, since asking is slow. */
export class EngineReport {
  readonly #options: EngineReportOptions
  #state: ServiceState = { kind: 'down', reason: 'podman was not looked for yet' }
  #version: string | null = null

  constructor(options: EngineReportOptions) {
    this.#options = options
  }

  /** Takes news about the service. */
  update(state: ServiceState): void {
    this.#state = state
    const { log, onChange } = this.#options
    if (state.kind === 'up') {
      log.info({ socket: state.socketPath, ours: state.isOurs }, 'podman answers')
      if (state.warning !== undefined)
        log.warn({ reason: state.warning }, 'the podman socket that was chosen is not used')
      void this.#askVersion()
    } else {
      log.warn({ reason: state.reason }, 'podman does not answer')
    }
    onChange(this.state())
  }

  /** The engine now; waits for nothing. */
  state(): EngineState {
    const state = this.#state
    if (state.kind === 'down')
      return { state: 'down', reason: state.reason, socket: null, owned: false, version: this.#version }
    const { socketPath: socket, isOurs: owned, warning: reason = null } = state
    return { state: 'up', reason, socket, owned, version: this.#version }
  }

  async #askVersion(): Promise<void> {
    try {
      this.#version = (await this.#options.engine.info()).version
    } catch (err) {
      if (!isEngineError(err)) throw err
      this.#options.log.debug({ err }, 'podman does not tell its version')
    }
  }
}
