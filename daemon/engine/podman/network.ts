import { EngineError, isEngineError, type Labels, type NetworkEngine, type NetworkSpec } from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { pathOf } from './docker.ts'
import { network, networks, read } from './schema.ts'

/** By podman's own API: the Docker-compatible one inspects every container, and fails when it cannot inspect one of them. */
const PATH = '/v4.0.0/libpod/networks'

/** Networks. */
export class PodmanNetworks implements NetworkEngine {
  readonly #api: PodmanApi

  constructor(api: PodmanApi) {
    this.#api = api
  }

  async ensure(spec: NetworkSpec, signal?: AbortSignal): Promise<void> {
    const { name, labels } = spec
    const present = await this.#labelsOf(name, signal)
    if (present === undefined) await this.#create(spec, signal)
    // Podman 4.4 to 4.9 answer success, with the old one, to whoever creates it second: so look at what is there.
    const found = present ?? (await this.#labelsOf(name, signal)) ?? {}
    const isOurs = Object.entries(labels).every(([label, value]) => found[label] === value)
    if (!isOurs) throw new EngineError('name_taken', `there is a network ${name} that is not ours`)
  }

  async remove(name: string, signal?: AbortSignal): Promise<void> {
    const what = `remove network ${name}`
    await this.#api.call(
      { method: 'DELETE', path: `/networks${pathOf(name)}`, ok: [200, 204, 404], what, repeatable: true },
      signal,
    )
  }

  async list(labels: Labels, signal?: AbortSignal): Promise<{ readonly name: string; readonly labels: Labels }[]> {
    const what = 'list networks'
    const filters = JSON.stringify({ label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) })
    const answer = await this.#api.call(
      { method: 'GET', path: `${PATH}/json`, query: { filters }, ok: [200], what, repeatable: true },
      signal,
    )
    return read(networks, answer, what)
  }

  async #create({ name, labels, resolves }: NetworkSpec, signal: AbortSignal | undefined): Promise<void> {
    const what = `create network ${name}`
    const body = { name, driver: 'bridge', labels, dns_enabled: resolves }
    try {
      await this.#api.call({ method: 'POST', path: `${PATH}/create`, body, ok: [200], what, repeatable: true }, signal)
    } catch (error) {
      // Somebody else was faster; whose it is, is looked at next.
      if (!isEngineError(error, 'name_taken')) throw error
    }
  }

  async #labelsOf(name: string, signal: AbortSignal | undefined): Promise<Labels | undefined> {
    const what = `inspect network ${name}`
    const path = `${PATH}${pathOf(name)}/json`
    try {
      const answer = await this.#api.call({ method: 'GET', path, ok: [200], what, repeatable: true }, signal)
      return read(network, answer, what).labels
    } catch (error) {
      // A name that nothing has is a network that is not there, whatever else it means in a container's words.
      if (isEngineError(error, 'not_found', 'network_stale')) return undefined
      throw error
    }
  }
}
