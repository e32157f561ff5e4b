import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { KeyedMutex } from '../../lib/keyed-mutex.ts'
import {
  type ContainerDetails,
  type ContainerEngine,
  type ContainerSpec,
  type ContainerStatus,
  type ContainerSummary,
  EngineError,
  type EngineExec,
  type ExecSpec,
  isEngineError,
  type Labels,
} from '../engine.ts'
import { checkLimits, hasLimits } from '../limit.ts'
import type { ApiCall, PodmanApi } from './api.ts'
import { commitContainer } from './commit.ts'
import { createBody } from './container-spec.ts'
import { isAtWorkOn } from './container-work.ts'
import { pathOf } from './docker.ts'
import { type PodmanExec, startExec } from './exec.ts'
import { isExecuted } from './first-process.ts'
import { readInfo } from './info.ts'
import { endAllRemoved, endRemoved } from './orphan.ts'
import { PasswdEntries } from './passwd.ts'
import { containerDetails, containerSummaries, created, read } from './schema.ts'

/** Longest wait until podman notices that a container ended, in milliseconds. */
const SETTLE_MS = 2_000
/** Time between two looks at it, in milliseconds. */
const RETRY_MS = 20
/** What podman answers for "never". */
const NEVER = '0001-01-01T00:00:00Z'

type Inspected = ReturnType<typeof containerDetails.parse>

/** Containers through the Docker-compatible API. */
export class PodmanContainers implements ContainerEngine {
  readonly #api: PodmanApi
  readonly #env: NodeJS.ProcessEnv | undefined
  /**
   * One creation at a time. For keep-id podman asks a C library (libsubid) for the user's ids, which several threads
   * must not do at once: some of ten creations failed for a lack of ids, and now and then the service crashed.
   */
  readonly #creations = new KeyedMutex()
  readonly #passwd: PasswdEntries
  /** Commands whose connection is open. */
  readonly #execs = new Set<PodmanExec>()

  /** @param env environment of the podman program, for what the API cannot do; undefined for that of this process */
  constructor(api: PodmanApi, env: NodeJS.ProcessEnv | undefined) {
    this.#api = api
    this.#env = env
    this.#passwd = new PasswdEntries(api)
  }

  async create(spec: ContainerSpec, signal?: AbortSignal): Promise<{ readonly id: string }> {
    const body = createBody(spec)
    if (hasLimits(spec.limits)) checkLimits(spec.limits, (await readInfo(this.#api, signal)).cgroupControllers)
    // Podman creates a missing source as a directory, silently.
    await checkSources(spec.mounts.map(({ source }) => source))
    const what = `create container ${spec.name}`
    const call: ApiCall = {
      method: 'POST',
      path: '/containers/create',
      query: { name: spec.name },
      body,
      ok: [200, 201],
      what,
      repeatable: false,
    }
    const answer = await this.#creations.run('create', () => this.#api.call(call, signal), signal)
    const id = read(created, answer, what).Id
    if (spec.account !== undefined) {
      const { Image } = await this.#mustInspect(id, signal)
      await this.#passwd.mend(id, plainId(Image), { ...spec.keepId, ...spec.account }, signal)
    }
    return { id }
  }

  async start(container: string, signal?: AbortSignal): Promise<void> {
    const details = await this.#mustInspect(container, signal)
    if (statusOf(details.State.Status) === 'running') return
    await checkSources((details.HostConfig.Binds ?? []).map(sourceOf))
    const what = `start container ${container}`
    await this.#api.call(this.#post(container, 'start', what), signal)
    if (details.HostConfig.Init === true) await this.#settle(container, signal)
  }

  /** Podman calls a container running as soon as its init runs, whether or not that finds the command. */
  async #settle(container: string, signal: AbortSignal | undefined): Promise<void> {
    const { State: state } = await this.#mustInspect(container, signal)
    if (statusOf(state.Status) !== 'running' || (await isExecuted(state.Pid, signal))) return
    // It ended; podman learns of that a little later.
    const deadline = performance.now() + SETTLE_MS
    while (performance.now() < deadline) {
      if (statusOf((await this.#mustInspect(container, signal)).State.Status) !== 'running') return
      await sleep(RETRY_MS)
    }
  }

  /**
   * Podman cannot stop a container of which a command blocks on output that nobody reads, and then leaves it in the
   * state `stopping` for ever; so readers that are behind lose output from here on. Where the state is found
   * nevertheless, nothing but removal by force helps, and that is the owner's decision: rejects with `wrong_state`.
   */
  async stop(container: string, graceSeconds: number, signal?: AbortSignal): Promise<void> {
    const details = await this.#mustInspect(container, signal)
    const names = new Set([container, details.Id, details.Name.replace(/^\//, '')])
    for (const exec of this.#execs) if (names.has(exec.container)) exec.dropWhenFull()
    const what = `stop container ${container}`
    try {
      const t = Math.max(0, Math.ceil(graceSeconds))
      await this.#api.call({ ...this.#post(container, 'stop', what), query: { t } }, signal)
    } catch (error) {
      if (!isEngineError(error, 'wrong_state', 'failed')) throw error
      const status = statusOf((await this.#mustInspect(container, signal)).State.Status)
      if (status === 'exited' || status === 'created') return
      const message = `container ${container} does not stop (${status}); only removal by force ends it`
      throw new EngineError('wrong_state', message, { cause: error })
    }
  }

  async remove(container: string, signal?: AbortSignal): Promise<void> {
    const what = `remove container ${container}`
    await this.#api.call(
      {
        method: 'DELETE',
        path: `/containers${pathOf(container)}`,
        query: { force: true, v: true },
        ok: [200, 204, 404],
        what,
        repeatable: true,
        isAtWork: isAtWorkOn(container),
      },
      signal,
    )
    await endRemoved(container, this.#env)
  }

  cleanUp(): Promise<number> {
    return endAllRemoved(this.#env)
  }

  async rename(container: string, name: string, signal?: AbortSignal): Promise<void> {
    const what = `rename container ${container} to ${name}`
    try {
      // Repeated after a lost answer, podman says that the name is taken: by the very container.
      await this.#api.call({ ...this.#post(container, 'rename', what), query: { name }, repeatable: false }, signal)
    } catch (error) {
      // Podman 5 passes on what its database says.
      if (!isEngineError(error, 'failed') || (await this.#inspect(name, signal)) === undefined) throw error
      throw new EngineError('name_taken', error.message, { cause: error })
    }
  }

  async commit(container: string, tag: string, signal?: AbortSignal): Promise<void> {
    await commitContainer(this.#api, { container, tag, env: this.#env }, signal)
  }

  async inspect(container: string, signal?: AbortSignal): Promise<ContainerDetails | undefined> {
    const found = await this.#inspect(container, signal)
    return found === undefined ? undefined : toDetails(found)
  }

  async list(labels: Labels, signal?: AbortSignal): Promise<ContainerSummary[]> {
    const found = await this.#list({ label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) }, signal)
    return found.map(({ Id: id, Names: [name = ''], Labels: own, State: state }) => ({
      id,
      name,
      labels: own,
      status: statusOf(state),
    }))
  }

  async exec(container: string, spec: ExecSpec, signal?: AbortSignal): Promise<EngineExec> {
    const exec = await startExec(this.#api, container, spec, signal)
    this.#execs.add(exec)
    const forget = () => void this.#execs.delete(exec)
    exec.exit.then(forget, forget)
    return exec
  }

  #post(container: string, verb: string, what: string): ApiCall {
    const path = `/containers${pathOf(container)}/${verb}`
    // 304: it is so already.
    return { method: 'POST', path, ok: [200, 204, 304], what, repeatable: true, isAtWork: isAtWorkOn(container) }
  }

  async #inspect(container: string, signal: AbortSignal | undefined): Promise<Inspected | undefined> {
    const what = `inspect container ${container}`
    const path = `/containers${pathOf(container)}/json`
    try {
      const isAtWork = isAtWorkOn(container)
      const call: ApiCall = { method: 'GET', path, ok: [200], what, repeatable: true, isAtWork }
      return read(containerDetails, await this.#api.call(call, signal), what)
    } catch (error) {
      if (isEngineError(error, 'not_found')) return undefined
      if (!isEngineError(error, 'failed') || !(await this.#isHalfRemoved(container, signal))) throw error
      await this.remove(container, signal)
      return undefined
    }
  }

  /**
   * Podman that ends while it removes a container leaves one that has no files any more: it cannot be inspected, and
   * nothing can be done with it but to finish the removal.
   */
  async #isHalfRemoved(container: string, signal: AbortSignal | undefined): Promise<boolean> {
    const all = await this.#list({}, signal)
    return all.some(({ Id, Names, State }) => (Id === container || Names.includes(container)) && State === 'removing')
  }

  /** By podman's own API: the Docker-compatible one inspects each, and fails when it cannot inspect one of them. */
  async #list(filters: Readonly<Record<string, readonly string[]>>, signal: AbortSignal | undefined) {
    const what = 'list containers'
    const path = '/v4.0.0/libpod/containers/json'
    const query = { all: true, filters: JSON.stringify(filters) }
    const answer = await this.#api.call({ method: 'GET', path, query, ok: [200], what, repeatable: true }, signal)
    return read(containerSummaries, answer, what)
  }

  async #mustInspect(container: string, signal: AbortSignal | undefined): Promise<Inspected> {
    const found = await this.#inspect(container, signal)
    if (found === undefined) throw new EngineError('not_found', `there is no container ${container}`)
    return found
  }
}

function toDetails(found: Inspected): ContainerDetails {
  const { State: state, NetworkSettings: network } = found
  const status = statusOf(state.Status)
  const isOver = status === 'exited'
  const addresses = Object.values(network.Networks ?? {}).map(({ IPAddress }) => IPAddress)
  return {
    id: found.Id,
    name: found.Name.replace(/^\//, ''),
    labels: found.Config.Labels,
    status,
    imageId: plainId(found.Image),
    startedAt: state.StartedAt === NEVER ? undefined : state.StartedAt,
    finishedAt: isOver && state.FinishedAt !== NEVER ? state.FinishedAt : undefined,
    exitCode: isOver ? state.ExitCode : undefined,
    pid: status === 'running' ? state.Pid : 0,
    address:
      [...addresses, network.IPAddress].find(
        (address) => address !== undefined && address !== null && address !== '',
      ) ?? undefined,
  }
}

/** An id without the name of its hash. */
export function plainId(id: string): string {
  return id.replace(/^sha256:/, '')
}

/** Podman's own states and Docker's, which newer versions answer. */
function statusOf(state: string): ContainerStatus {
  switch (state) {
    case 'created':
    case 'configured':
    case 'initialized':
      return 'created'
    case 'running':
      return 'running'
    case 'stopping':
      return 'stopping'
    case 'exited':
    case 'stopped':
    case 'dead':
      return 'exited'
    default:
      return 'other'
  }
}

/** Source of `source:target:options`; sources hold no colon. */
function sourceOf(bind: string): string {
  return bind.slice(0, bind.indexOf(':'))
}

async function checkSources(sources: readonly string[]): Promise<void> {
  for (const source of sources) {
    try {
      await stat(source)
    } catch (error) {
      throw new EngineError('mount_missing', `${source} is to be mounted and cannot be found`, { cause: error })
    }
  }
}
