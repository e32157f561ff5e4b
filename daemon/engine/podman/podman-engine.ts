import type { Engine, EngineEventMessage, EngineInfo, Labels } from '../engine.ts'
import { type ApiCall, PodmanApi } from './api.ts'
import { PodmanContainers } from './container.ts'
import { DockerClient } from './docker.ts'
import { watchEvents } from './event.ts'
import { PodmanImages } from './image.ts'
import { readInfo } from './info.ts'
import { PodmanNetworks } from './network.ts'

/** Options of {@link createPodmanEngine}. */
export interface PodmanEngineOptions {
  /**
   * Socket of the podman service, or a function that tells it before each request, since a restarted service may be
   * somewhere else. The function may throw an EngineError `unavailable` when there is no service.
   */
  readonly socketPath: string | (() => string)
  /** How long calls wait for a service that does not answer, in milliseconds; default 8 s. */
  readonly patienceMs?: number
  /** Environment of the podman program, for what the API cannot do; without it, that of this process. */
  readonly env?: NodeJS.ProcessEnv
}

/** Makes an engine of a podman service. It connects when it is first used, and outlives restarts of the service. */
export function createPodmanEngine(options: PodmanEngineOptions): Engine {
  const { socketPath } = options
  const docker = new DockerClient(typeof socketPath === 'string' ? () => socketPath : socketPath)
  return new PodmanEngine(new PodmanApi(docker, options.patienceMs), options.env)
}

class PodmanEngine implements Engine {
  readonly container: PodmanContainers
  readonly image: PodmanImages
  readonly network: PodmanNetworks
  readonly #api: PodmanApi

  constructor(api: PodmanApi, env: NodeJS.ProcessEnv | undefined) {
    this.#api = api
    this.container = new PodmanContainers(api, env)
    this.image = new PodmanImages(api, env)
    this.network = new PodmanNetworks(api)
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#api.ask(get('/_ping', 'ping'), signal)
  }

  async info(signal?: AbortSignal): Promise<EngineInfo> {
    return await readInfo(this.#api, signal)
  }

  watch(labels: Labels, listener: (message: EngineEventMessage) => void): () => void {
    return watchEvents(this.#api, labels, listener)
  }
}

function get(path: string, what: string): ApiCall {
  return { method: 'GET', path, ok: [200], what, repeatable: true }
}
