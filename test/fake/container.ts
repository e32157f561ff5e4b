import { randomBytes } from 'node:crypto'
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type ContainerDetails,
  type ContainerEngine,
  type ContainerSpec,
  type ContainerStatus,
  type ContainerSummary,
  EngineError,
  type EngineExec,
  type ExecSpec,
  type Labels,
} from '../../daemon/engine/engine.ts'
import { checkLimits } from '../../daemon/engine/limit.ts'
import { carries, type FakeEvents } from './event.ts'
import { FakeExec } from './exec.ts'
import type { FaultPlan } from './fault.ts'

interface FakeContainer {
  readonly id: string
  spec: ContainerSpec
  readonly imageId: string
  readonly execs: Set<FakeExec>
  /** Its own command, when that is run. */
  command: FakeExec | undefined
  status: ContainerStatus
  startedAt: string | undefined
  finishedAt: string | undefined
  exitCode: number | undefined
}

/** What the fake containers need of the rest of the fake. */
export interface FakeContainersDeps {
  readonly faults: FaultPlan
  readonly events: FakeEvents
  /** Plain id of an image, undefined when there is none. */
  readonly findImage: (name: string) => string | undefined
  readonly hasNetwork: (name: string) => boolean
  /** As in the engine's facts. */
  readonly cgroupControllers: readonly string[]
  /** Puts an image into the store; the tag moves to it. */
  readonly addImage: (tag: string, labels: Labels) => void
  /** Whether a started container's own command is run, as a process of the host. */
  readonly runCommands: boolean
}

/**
 * The containers of a fake engine. Each has a directory that stands for its root file system; commands are processes of
 * the host whose working directory is the source of the mount that `cwd` lies in, or a place in that directory.
 */
export class FakeContainers implements ContainerEngine {
  readonly #deps: FakeContainersDeps
  readonly #containers = new Map<string, FakeContainer>()
  #root: Promise<string> | undefined

  constructor(deps: FakeContainersDeps) {
    this.#deps = deps
  }

  /** Ends a container from inside, as when its first process exits. */
  async die(container: string, exitCode: number): Promise<void> {
    await this.#end(this.#get(container), exitCode)
  }

  /** Leaves a container as somebody who is stopping it does until it has ended. */
  beginStop(container: string): void {
    const found = this.#get(container)
    found.status = 'stopping'
    this.#emit('kill', found)
  }

  /** The spec that a container was created with. */
  specOf(container: string): ContainerSpec | undefined {
    return this.#find(container)?.spec
  }

  /** Reports whether any container uses the network. */
  usesNetwork(name: string): boolean {
    return this.#some(({ spec }) => spec.network.kind === 'named' && spec.network.name === name)
  }

  /** Reports whether any container was made from the image. */
  usesImage(id: string): boolean {
    return this.#some(({ imageId }) => imageId === id)
  }

  /** Breaks the connection of every running command. */
  loseExecs(): void {
    for (const { execs } of this.#containers.values()) for (const exec of execs) exec.lose()
  }

  /** Ends everything and removes the directories. */
  async dispose(): Promise<void> {
    for (const container of this.#containers.values()) await this.#endExecs(container)
    this.#containers.clear()
    if (this.#root !== undefined) await rm(await this.#root, { recursive: true, force: true })
    this.#root = undefined
  }

  create(spec: ContainerSpec, signal?: AbortSignal): Promise<{ readonly id: string }> {
    const body = async () => {
      checkPaths(spec)
      checkLimits(spec.limits, this.#deps.cgroupControllers)
      await checkMounts(spec)
      if (this.#find(spec.name) !== undefined) throw new EngineError('name_taken', `${spec.name} is taken`)
      const imageId = this.#deps.findImage(spec.image)
      if (imageId === undefined) throw new EngineError('not_found', `no image ${spec.image}`)
      this.#checkNetwork(spec)
      const container: FakeContainer = {
        id: randomBytes(32).toString('hex'),
        spec,
        imageId,
        execs: new Set(),
        command: undefined,
        status: 'created',
        startedAt: undefined,
        finishedAt: undefined,
        exitCode: undefined,
      }
      this.#containers.set(container.id, container)
      this.#emit('create', container)
      return { id: container.id }
    }
    return this.#deps.faults.run({ operation: 'container.create', subject: spec.name, signal, body })
  }

  start(container: string, signal?: AbortSignal): Promise<void> {
    const body = async () => {
      const found = this.#get(container)
      if (found.status === 'running') return
      await checkMounts(found.spec)
      this.#checkNetwork(found.spec)
      found.status = 'running'
      found.startedAt = new Date().toISOString()
      found.finishedAt = undefined
      found.exitCode = undefined
      this.#emit('start', found)
      if (this.#deps.runCommands) await this.#runCommand(found)
    }
    return this.#deps.faults.run({ operation: 'container.start', subject: container, signal, body })
  }

  stop(container: string, _graceSeconds: number, signal?: AbortSignal): Promise<void> {
    const body = async () => {
      const found = this.#get(container)
      if (found.status !== 'running' && found.status !== 'stopping') return
      await this.#end(found, 143)
      this.#emit('stop', found)
    }
    return this.#deps.faults.run({ operation: 'container.stop', subject: container, signal, body })
  }

  remove(container: string, signal?: AbortSignal): Promise<void> {
    const body = async () => {
      const found = this.#find(container)
      if (found === undefined) return
      if (found.status === 'running') await this.#end(found, 137)
      await this.#endExecs(found)
      this.#containers.delete(found.id)
      this.#emit('remove', found)
    }
    return this.#deps.faults.run({ operation: 'container.remove', subject: container, signal, body })
  }

  cleanUp(): Promise<number> {
    return Promise.resolve(0)
  }

  rename(container: string, name: string, signal?: AbortSignal): Promise<void> {
    const body = () => {
      const found = this.#get(container)
      if (this.#find(name) !== undefined) throw new EngineError('name_taken', `${name} is taken`)
      found.spec = { ...found.spec, name }
      this.#emit('rename', found)
    }
    return this.#deps.faults.run({ operation: 'container.rename', subject: container, signal, body })
  }

  commit(container: string, tag: string, signal?: AbortSignal): Promise<void> {
    const body = () => this.#deps.addImage(tag, this.#get(container).spec.labels)
    return this.#deps.faults.run({ operation: 'container.commit', subject: container, signal, body })
  }

  inspect(container: string, signal?: AbortSignal): Promise<ContainerDetails | undefined> {
    const body = () => {
      const found = this.#find(container)
      return found === undefined ? undefined : toDetails(found)
    }
    return this.#deps.faults.run({ operation: 'container.inspect', subject: container, signal, body })
  }

  list(labels: Labels, signal?: AbortSignal): Promise<ContainerSummary[]> {
    const body = () => [...this.#containers.values()].filter(({ spec }) => carries(spec.labels, labels)).map(toSummary)
    return this.#deps.faults.run({ operation: 'container.list', subject: '', signal, body })
  }

  exec(container: string, spec: ExecSpec, signal?: AbortSignal): Promise<EngineExec> {
    const body = async () => {
      const found = this.#get(container)
      if (found.status !== 'running') throw new EngineError('wrong_state', `${container} is ${found.status}`)
      return await this.#exec(found, spec)
    }
    return this.#deps.faults.run({ operation: 'container.exec', subject: container, signal, body })
  }

  async #exec(container: FakeContainer, spec: ExecSpec): Promise<FakeExec> {
    const cwd = await this.#hostPath(container, spec.cwd ?? container.spec.workdir)
    const exec = new FakeExec({ ...spec, command: spec.command.map((word) => onHost(container, word)) }, cwd)
    container.execs.add(exec)
    const forget = () => void container.execs.delete(exec)
    exec.exit.then(forget, (error: unknown) => {
      if (!(error instanceof EngineError && error.kind === 'connection_lost')) forget()
    })
    return exec
  }

  async #runCommand(container: FakeContainer): Promise<void> {
    const { command, workdir, env } = container.spec
    const exec = new FakeExec({ command, env, stdin: false }, await this.#hostPath(container, workdir))
    container.command = exec
    exec.stdout.resume()
    exec.stderr.resume()
    exec.exit.then(
      ({ exitCode }) => this.#end(container, exitCode),
      () => this.#end(container, 127),
    )
  }

  async #end(container: FakeContainer, exitCode: number): Promise<void> {
    if (container.status !== 'running' && container.status !== 'stopping') return
    container.status = 'exited'
    container.exitCode = exitCode
    container.finishedAt = new Date().toISOString()
    await this.#endExecs(container)
    this.#emit('died', container)
  }

  async #endExecs(container: FakeContainer): Promise<void> {
    const { command } = container
    container.command = undefined
    await Promise.all([...container.execs, ...(command === undefined ? [] : [command])].map((exec) => exec.end()))
    container.execs.clear()
  }

  async #hostPath(container: FakeContainer, path: string): Promise<string> {
    const mount = container.spec.mounts.find(({ target }) => path === target || path.startsWith(`${target}/`))
    if (mount !== undefined) return join(mount.source, path.slice(mount.target.length))
    this.#root ??= mkdtemp(join(tmpdir(), 'loopat-fake-'))
    const directory = join(await this.#root, container.id, path)
    await mkdir(directory, { recursive: true })
    return directory
  }

  #checkNetwork({ network }: ContainerSpec): void {
    if (network.kind === 'named' && !this.#deps.hasNetwork(network.name)) {
      throw new EngineError('network_stale', `no network ${network.name}`)
    }
  }

  #emit(action: string, { id, spec }: FakeContainer): void {
    this.#deps.events.emit(action, { id, name: spec.name, labels: spec.labels })
  }

  #find(container: string): FakeContainer | undefined {
    return this.#containers.get(container) ?? [...this.#containers.values()].find(({ spec }) => spec.name === container)
  }

  #get(container: string): FakeContainer {
    const found = this.#find(container)
    if (found === undefined) throw new EngineError('not_found', `no container ${container}`)
    return found
  }

  #some(matches: (container: FakeContainer) => boolean): boolean {
    return [...this.#containers.values()].some(matches)
  }
}

/** Where an argument that is a path in the control directory leads on the host. Others are nobody's to change. */
function onHost({ spec }: FakeContainer, word: string): string {
  const control = spec.mounts.find(({ target }) => target === '/loopat/control')
  return control !== undefined && word.startsWith(`${control.target}/`)
    ? join(control.source, word.slice(control.target.length))
    : word
}

function toSummary({ id, spec, status }: FakeContainer): ContainerSummary {
  return { id, name: spec.name, labels: spec.labels, status }
}

function toDetails(container: FakeContainer): ContainerDetails {
  return {
    ...toSummary(container),
    imageId: container.imageId,
    startedAt: container.startedAt,
    finishedAt: container.finishedAt,
    exitCode: container.exitCode,
    pid: container.status === 'running' ? process.pid : 0,
    address: container.status === 'running' && container.spec.network.kind === 'named' ? '10.88.0.2' : undefined,
  }
}

async function checkMounts({ mounts }: ContainerSpec): Promise<void> {
  for (const { source } of mounts) {
    try {
      await access(source)
    } catch (error) {
      throw new EngineError('mount_missing', `${source} does not exist`, { cause: error })
    }
  }
}

function checkPaths({ mounts }: ContainerSpec): void {
  for (const path of mounts.flatMap(({ source, target }) => [source, target])) {
    if (!path.startsWith('/') || /[:,]|\p{Cc}/u.test(path)) throw new EngineError('failed', `${path} cannot be mounted`)
  }
}
