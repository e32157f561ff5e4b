import { randomBytes } from 'node:crypto'
import { text } from 'node:stream/consumers'
import type { ContainerSpec, Engine, EngineExec, ExecSpec, Labels } from '../../daemon/engine/engine.ts'

/** An engine under contract, with what the suite needs around it. */
export interface ContractSubject extends AsyncDisposable {
  readonly engine: Engine
  /** Tag of an image that has sh, cat, dd, sleep, stty and yes. */
  readonly image: string
  /** A directory of the host for mounts. */
  readonly directory: string
  /** Ends the engine in the middle of whatever it does. */
  crash(): Promise<void>
  /** Resolves when the engine is back. */
  recover(): Promise<void>
}

/** Makes names, specs and containers for one test, and removes all that was made. */
export class Workshop implements AsyncDisposable {
  readonly engine: Engine
  readonly labels: Labels
  readonly #subject: ContractSubject
  readonly #prefix = `loopat-test-${randomBytes(4).toString('hex')}`
  readonly #containers: string[] = []
  readonly #networks: string[] = []
  readonly #images: string[] = []

  constructor(subject: ContractSubject) {
    this.#subject = subject
    this.engine = subject.engine
    this.labels = { 'loopat.test': this.#prefix }
  }

  /** Name of a container that is removed in the end. */
  containerName(suffix = 'c'): string {
    const name = `${this.#prefix}-${suffix}`
    this.#containers.push(name)
    return name
  }

  /** Name of a network that is removed in the end. */
  networkName(suffix = 'n'): string {
    const name = `${this.#prefix}-${suffix}`
    this.#networks.push(name)
    return name
  }

  /** Tag of an image that is untagged in the end. */
  imageTag(suffix = '1'): string {
    const tag = `localhost/${this.#prefix}:${suffix}`
    this.#images.push(tag)
    return tag
  }

  /** A container that sleeps, without network. */
  spec(overrides: Partial<ContainerSpec> = {}): ContainerSpec {
    return {
      name: overrides.name ?? this.containerName(),
      image: this.#subject.image,
      hostname: 'contract',
      labels: this.labels,
      command: ['/bin/sh', '-c', 'sleep 100000'],
      workdir: '/tmp',
      env: { PATH: process.env.PATH ?? '/bin' },
      mounts: [],
      keepId: { uid: 2000, gid: 2000 },
      init: true,
      network: { kind: 'none' },
      dns: [],
      limits: {},
      stopTimeoutSeconds: 2,
      ...overrides,
    }
  }

  /** Creates and starts a container; returns its name. */
  async running(overrides: Partial<ContainerSpec> = {}): Promise<string> {
    const spec = this.spec(overrides)
    await this.engine.container.create(spec)
    await this.engine.container.start(spec.name)
    return spec.name
  }

  /** Starts a shell script in a container. */
  exec(container: string, script: string, overrides: Partial<ExecSpec> = {}): Promise<EngineExec> {
    const spec = { command: ['/bin/sh', '-c', script], env: {}, stdin: false, ...overrides }
    return this.engine.container.exec(container, spec)
  }

  /** Runs a shell script to its end. */
  async run(container: string, script: string, overrides: Partial<ExecSpec> = {}): Promise<RunResult> {
    const exec = await this.exec(container, script, overrides)
    const [stdout, stderr, exit] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.exit])
    exec.close()
    return { stdout, stderr, exitCode: exit.exitCode }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#containers) await this.engine.container.remove(name)
    for (const name of this.#networks) await this.engine.network.remove(name)
    for (const tag of this.#images) await this.engine.image.untag(tag)
  }
}

/** What a finished script gave. */
export interface RunResult {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number
}

/** How the suites get at the subject of their file. */
export type GetSubject = () => ContractSubject
