import type { EngineState, ResultOf, Workspace } from '@loopatd/protocol'
import { PROTOCOL_VERSION, VERSION } from '@loopatd/protocol'
import type { Paths } from './paths.ts'

/** What the service is made of; each function tells how things are now, without waiting. */
export interface DaemonServiceOptions {
  readonly workspace: Workspace
  readonly paths: Paths
  readonly startedAt: Date
  readonly engine: () => EngineState
  readonly storage: () => { readonly writable: boolean; readonly reason: string | null }
  readonly loops: () => Promise<ResultOf<'daemon/status'>['loops']>
  readonly clients: () => number
  readonly leases: () => number
  /** Begins the shutdown; returns at once. */
  readonly shutdown: () => void
}

/** The daemon about itself. */
export class DaemonService {
  readonly #options: DaemonServiceOptions

  constructor(options: DaemonServiceOptions) {
    this.#options = options
  }

  /** Tells what the daemon is, serves and can do; see the contract. */
  async status(): Promise<ResultOf<'daemon/status'>> {
    const { workspace, paths, startedAt, engine, storage, loops, clients, leases } = this.#options
    return {
      pid: process.pid,
      version: VERSION,
      protocolVersion: PROTOCOL_VERSION,
      workspace: workspace.name,
      home: workspace.home,
      socket: workspace.socket,
      log: paths.log,
      startedAt: startedAt.toISOString(),
      engine: engine(),
      storage: storage(),
      loops: await loops(),
      clients: clients(),
      leases: leases(),
      memoryBytes: process.memoryUsage.rss(),
    }
  }

  /** Begins the shutdown; the answer is still sent. */
  async shutdown(): Promise<Record<string, never>> {
    this.#options.shutdown()
    return {}
  }
}
