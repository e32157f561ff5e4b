import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type LoopatClient } from '@loopatd/client'
import { findByArgument } from '../../daemon/engine/podman/host.ts'
import { serviceAddress } from '../../daemon/engine/podman/launch.ts'
import { buildSandboxImage, dropSandboxImage } from '../harness/sandbox-image.ts'
import { eventually, makeWorkspace, processesWith, residentBytes, type TestWorkspace } from '../harness/workspace.ts'
import { Api } from './api.ts'
import { type Command, end, follow } from './process.ts'

/** Loops that are made, or removed, at the same time. */
const PARALLEL = 8
/** How long it may take to find out whether the local podman works, in milliseconds. */
const TRY_MS = 30_000

/** A podman command line that works here and sees the container of the running loop. */
export interface PodmanCommand {
  /** How it reaches podman, for the table. */
  readonly label: string
  /** The whole command line of a subcommand. */
  command(...args: string[]): Command
}

/** A loop as benchmarks use it. */
export interface BenchLoop {
  readonly id: string
  /** Name of its container. */
  readonly container: string
}

/** What is measured: a workspace with a daemon, one running loop, and podman itself. */
export class Bed implements AsyncDisposable {
  readonly workspace: TestWorkspace
  /** The one loop that runs. */
  readonly loop: BenchLoop
  /** podman's service, the one that the daemon uses. */
  readonly api: Api
  /** Path of its socket. */
  readonly podmanSocket: string
  /** Runs programs as users do; `loopctl` and the bare runtime among them. */
  readonly env: NodeJS.ProcessEnv
  /** Path of the Node.js that loopctl runs on. */
  readonly runtime: string
  /** Each way to use podman's command line, the one through the same service first. */
  readonly podmans: readonly PodmanCommand[]
  #known = 1
  #client: LoopatClient

  private constructor(
    parts: Pick<Bed, 'workspace' | 'client' | 'loop' | 'api' | 'podmanSocket' | 'env' | 'runtime' | 'podmans'>,
  ) {
    this.workspace = parts.workspace
    this.#client = parts.client
    this.loop = parts.loop
    this.api = parts.api
    this.podmanSocket = parts.podmanSocket
    this.env = parts.env
    this.runtime = parts.runtime
    this.podmans = parts.podmans
  }

  /** Starts everything. */
  static async make(): Promise<Bed> {
    const workspace = await makeWorkspace()
    try {
      return new Bed(await Bed.#start(workspace))
    } catch (error) {
      await workspace[Symbol.asyncDispose]()
      throw error
    }
  }

  static async #start(workspace: TestWorkspace) {
    const env = { ...workspace.env, LOOPAT_LOG_LEVEL: 'info' }
    const start = async () => {
      const started = await workspace.loopctl(['daemon', 'start'], { env })
      if (started.code !== 0) throw new Error(`the daemon does not start: ${started.stderr}`)
    }
    // Commands are measured in the sandbox image, as users have it; loops are made of the tiny one.
    const config = join(workspace.home, 'config.toml')
    const tiny = await readFile(config)
    await writeFile(config, '')
    await start()
    const sandbox = await buildSandboxImage(workspace)
    await workspace.ok('daemon', 'stop')
    await writeFile(config, tiny)
    await start()
    const client = await connect({ socket: workspace.socket })
    const { loop } = await client.loop.create({ name: 'bench', image: sandbox })
    const { container } = await client.loop.get({ loop: loop.id })
    const { engine } = await client.daemon.status()
    if (engine.socket === null) throw new Error(`podman is down: ${engine.reason}`)
    return {
      workspace,
      client,
      loop: { id: loop.id, container: container.name },
      api: new Api(engine.socket),
      podmanSocket: engine.socket,
      env,
      runtime: await runtimeOf(workspace.program, env),
      podmans: await podmanCommands(workspace, { ...engine, container: container.name, socket: engine.socket }),
    }
  }

  /** The daemon, on one connection. */
  get client(): LoopatClient {
    return this.#client
  }

  /** Connects anew, to a daemon that was restarted. */
  async reconnect(): Promise<void> {
    await this.#client.close()
    this.#client = await connect({ socket: this.workspace.socket })
  }

  /** Makes loops that run. @returns them, and removes them */
  async makeRunning(
    count: number,
  ): Promise<{ readonly loops: readonly BenchLoop[]; readonly end: () => Promise<void> }> {
    const loops: BenchLoop[] = []
    const end = async () => {
      await eachOf(loops, ({ id }) => this.client.loop.remove({ loop: id, force: true }))
    }
    while (loops.length < count) {
      const { loop } = await this.client.loop.create({})
      loops.push({ id: loop.id, container: `loopat-${this.workspace.name}-${loop.id}` })
    }
    return { loops, end }
  }

  /** Has so many of the known loops run. @returns puts things back */
  async run(count: number): Promise<() => Promise<void>> {
    const { loops } = await this.client.loop.list({})
    const others = loops.filter(({ id }) => id !== this.loop.id).slice(0, Math.max(0, count - 1))
    for (const { id } of others) await this.client.loop.start({ loop: id })
    if (count === 0) await this.client.loop.stop({ loop: this.loop.id })
    return async () => {
      for (const { id } of others) await this.client.loop.stop({ loop: id, graceSeconds: 0 })
      await this.client.loop.start({ loop: this.loop.id })
    }
  }

  /** A command line of loopctl. */
  loopctl(...args: string[]): Command {
    return { program: this.workspace.program, args, env: this.env }
  }

  /** The runtime of loopctl with nothing to do. */
  bareRuntime(): Command {
    return { program: this.runtime, args: ['-e', '0'], env: this.env }
  }

  /** Makes loops, not started, until the daemon knows this many. There is no way back to fewer. */
  async fill(known: number, signal: AbortSignal): Promise<void> {
    const make = async () => {
      while (this.#known < known) {
        this.#known += 1
        await this.client.loop.create({ start: false }, { signal })
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, make))
    const { loops } = await this.client.daemon.status()
    if (loops.total !== this.#known) throw new Error(`the daemon knows ${loops.total} loops, not ${this.#known}`)
  }

  /** Pid of podman's service: of those that wait for it and itself, the one that does the work. */
  async servicePid(): Promise<number> {
    const ours = await findByArgument(serviceAddress(this.podmanSocket))
    // One that systemd started was handed its socket, and does not name it.
    const pids = ours.length > 0 ? ours : await processesWith(['system', 'service'], { atEnd: true })
    const sizes = await Promise.all(pids.map(async (pid) => ({ pid, bytes: await residentBytes(pid) })))
    const largest = sizes.sort((a, b) => b.bytes - a.bytes)[0]
    if (largest === undefined) throw new Error('the podman service does not run')
    return largest.pid
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#removeLoops()
      await dropSandboxImage(this.workspace)
      await this.client.close()
    } finally {
      this.api.close()
      await this.workspace[Symbol.asyncDispose]()
    }
  }

  async #removeLoops(): Promise<void> {
    const { loops } = await this.client.loop.list({})
    await eachOf(loops, ({ id }) => this.client.loop.remove({ loop: id, force: true }))
  }
}

/** Does something to each of them, to few at the same time. */
export async function eachOf<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const queue = all.values()
  const worker = async () => {
    for (const one of queue) await work(one)
  }
  await Promise.all(Array.from({ length: PARALLEL }, worker))
}

/** Which Node.js the launcher of loopctl picks: asked from a loopctl that runs, so that no rule is written twice. */
async function runtimeOf(program: string, env: NodeJS.ProcessEnv): Promise<string> {
  const child = spawn(program, ['events'], { env, stdio: 'ignore' })
  await once(child, 'spawn')
  try {
    let runtime = ''
    await eventually('loopctl runs', async () => {
      const words = (await readFile(`/proc/${child.pid}/cmdline`, 'utf8')).split('\0')
      runtime = await readlink(`/proc/${child.pid}/exe`)
      return words.some((word) => /\/main\.c?js$/.test(word))
    })
    return runtime
  } finally {
    await end(child)
  }
}

/** @param found the service of the daemon, and a container in it */
async function podmanCommands(
  { env, image, runtimeDir }: TestWorkspace,
  { owned, socket, container }: { owned: boolean; socket: string; container: string },
): Promise<PodmanCommand[]> {
  // The network back end and everything else has to be the same as in the daemon's own service.
  const configured = owned ? { ...env, CONTAINERS_CONF: join(runtimeDir, 'containers.conf') } : env
  const command = (...args: string[]) => ({ program: 'podman', args, env: configured })
  const remote = ['--remote', '--url', serviceAddress(socket)]
  const remotely = { label: 'remote', command: (...args: string[]) => command(...remote, ...args) }
  const locally = { label: 'local', command }
  // Without cgroups of its own, the local podman may be unable to enter or to start a container.
  const works =
    (await succeeds(command('exec', container, 'true'))) &&
    (await succeeds(command('run', '--rm', '--network', 'bridge', image, 'true')))
  return works ? [remotely, locally] : [remotely]
}

async function succeeds(command: Command): Promise<boolean> {
  try {
    await follow(command, AbortSignal.timeout(TRY_MS))
    return true
  } catch (error) {
    if (error instanceof Error) return false
    throw error
  }
}

/** Waits until the machine had a moment without us: what was started before must not disturb what is measured next. */
export async function settle(): Promise<void> {
  await sleep(500)
}
