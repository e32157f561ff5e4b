import type { Engine, EngineEventMessage, EngineInfo, Labels } from '../../daemon/engine/engine.ts'
import { FakeContainers } from './container.ts'
import { FakeEvents } from './event.ts'
import { FaultPlan } from './fault.ts'
import { FakeImages } from './image.ts'
import { FakeNetworks } from './network.ts'

/** What a fake engine can limit: not everything. */
const CONTROLLERS: readonly string[] = ['memory', 'pids']

/** Options of a fake engine. */
export interface FakeEngineOptions {
  /** Tags of images that are there from the start. */
  readonly images?: readonly string[]
  /** Names of networks that are there from the start, without labels. */
  readonly networks?: readonly string[]
  /** Whether a container's own command is really run (as a process of the host); default false: it runs until stopped. */
  readonly runCommands?: boolean
}

/**
 * A whole engine in memory, held to the same contract as podman. Commands in containers are real processes of the host.
 * Use it with `await using`: disposal ends what still runs.
 */
export class FakeEngine implements Engine, AsyncDisposable {
  /** Failures, holds and the record of calls. */
  readonly faults = new FaultPlan()
  readonly container: FakeContainers
  readonly image: FakeImages
  readonly network: FakeNetworks
  readonly #events = new FakeEvents()

  constructor(options: FakeEngineOptions = {}) {
    this.container = new FakeContainers({
      faults: this.faults,
      events: this.#events,
      findImage: (name) => this.image.find(name)?.id,
      hasNetwork: (name) => this.network.has(name),
      cgroupControllers: CONTROLLERS,
      addImage: (tag, labels) => this.image.add(tag, labels),
      runCommands: options.runCommands ?? false,
    })
    this.image = new FakeImages(this.faults, (id) => this.container.usesImage(id))
    this.network = new FakeNetworks(this.faults, (name) => this.container.usesNetwork(name))
    for (const tag of options.images ?? []) this.image.add(tag)
    for (const name of options.networks ?? []) this.network.add(name)
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.faults.run({ operation: 'ping', subject: '', signal, body: () => undefined })
  }

  info(signal?: AbortSignal): Promise<EngineInfo> {
    const info: EngineInfo = {
      version: '4.3.1',
      rootless: true,
      storageDriver: 'overlay',
      networkBackend: 'netavark',
      cgroupVersion: '2',
      cgroupControllers: CONTROLLERS,
    }
    return this.faults.run({ operation: 'info', subject: '', signal, body: () => info })
  }

  watch(labels: Labels, listener: (message: EngineEventMessage) => void): () => void {
    return this.#events.watch(labels, listener)
  }

  /** The engine goes away: calls reject with `unavailable`, commands and events lose their connection, containers go on. */
  disconnect(reason = 'no engine answers'): void {
    this.faults.setDown(reason)
    this.container.loseExecs()
    this.#events.disconnect(reason)
  }

  /** The engine is back. */
  reconnect(): void {
    this.faults.setDown(undefined)
    this.#events.reconnect()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#events.disconnect('disposed')
    await this.container.dispose()
  }
}
