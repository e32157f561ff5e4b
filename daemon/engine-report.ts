import type { EngineState } from '@loopatd/protocol'
import type { Logger } from './log.ts'

/** Where the engine is, as the one who looks after its service tells it. */
export type ServiceState =
  | {
      readonly kind: 'up'
      readonly socketPath: string
      readonly version: string
      readonly isOurs: boolean
      /** Why it is not the one that somebody chose. */
      readonly warning?: string
    }
  | { readonly kind: 'down'; readonly reason: string }

/** What the report is made of. */
export interface EngineReportOptions {
  readonly log: Logger
  /** Told of each change. Must not throw. */
  readonly onChange: (state: EngineState) => void
}

/** The state of the engine as clients see it. */
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
      this.#version = state.version
      if (state.warning !== undefined)
        log.warn({ reason: state.warning }, 'the podman socket that was chosen is not used')
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
}
