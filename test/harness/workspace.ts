import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { access, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ContainerSummary, Engine } from '../../daemon/engine/engine.ts'
import { candidateSockets, locatePodman } from '../../daemon/engine/podman/locate.ts'
import { OwnService } from '../../daemon/engine/podman/own-service.ts'
import { createPodmanEngine } from '../../daemon/engine/podman/podman-engine.ts'
import { removeAsRoot } from '../../daemon/engine/podman/unshare.ts'
import { findWorkspace, type Workspace } from '../../protocol/socket.ts'
import { smallImage, startPodman } from './podman.ts'
import { imageOfKind } from './shell-image.ts'

const LOOPCTL = fileURLToPath(new URL('../../client/bin/loopctl', import.meta.url))
const LOOPATD = fileURLToPath(new URL('../../daemon/bin/loopatd', import.meta.url))

/** What a program wrote, and how it ended. */
export interface Outcome {
  /** Exit code; 128 + n when signal n ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** What a program is given. */
export interface RunOptions {
  /** Stdin; default: end of file at once. */
  readonly input?: string | Buffer | Readable
  /** Further variables. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Where stdout goes instead of into the outcome. */
  readonly stdout?: Writable
}

/** A workspace of its own with the built programs, a real podman and a tiny image. */
export interface TestWorkspace extends AsyncDisposable, Workspace {
  /** Environment of the programs. */
  readonly env: Readonly<Record<string, string>>
  /** Directory for whatever a test writes; removed in the end. */
  readonly directory: string
  /** Path of loopctl. */
  readonly program: string
  /** Name of the tiny image. */
  readonly image: string
  /** Speaks to the podman service of the daemon. */
  readonly engine: Engine
  /** That service's process. */
  readonly service: OwnService
  /** Runs loopctl. */
  loopctl(args: readonly string[], options?: RunOptions): Promise<Outcome>
  /** Runs loopctl and expects that it succeeds. @returns stdout without the last line break */
  ok(...args: string[]): Promise<string>
  /** Runs loopctl with `--json` and expects that it succeeds. */
  json<T>(...args: string[]): Promise<T>
  /** Starts loopctl and leaves it to the test. It is killed at the end if it still runs. */
  spawn(args: readonly string[], options?: SpawnOptions): ChildProcess
  /** Runs the daemon in the foreground, until it ends. */
  loopatd(): Promise<Outcome>
  /** Runs git on this host, with nobody's configuration. */
  git(directory: string, ...args: string[]): Promise<void>
  /** A PATH of programs of this host, without one of them. Ends with the workspace. */
  pathWithout(program: string): Promise<string>
  /** Pid of the daemon. */
  daemonPid(): Promise<number>
  /** Containers of this workspace. */
  containers(): Promise<ContainerSummary[]>
}

/** Variables that would let the outside reach into a test, or the other way round. */
function cleanEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      value === undefined ||
      /^(LOOPAT|DOCKER_|VITEST|NODE_OPTIONS$|NODE_V8_COVERAGE$|FORCE_COLOR$|NO_COLOR$)/.test(name)
        ? []
        : [[name, value]],
    ),
  )
}

/** Imports the tiny image, or the one of another kind, once per store: its name is that of its content. */
async function ensureImage(): Promise<string> {
  const digest = createHash('sha256')
    .update(await readFile('/bin/busybox'))
    .digest('hex')
    .slice(0, 12)
  const { LOOPAT_TEST_IMAGE: kind } = process.env
  const tag = `localhost/loopat-test-e2e${kind === undefined ? '' : `-${kind}`}:${digest}`
  await using podman = await startPodman()
  if ((await podman.engine.image.inspect(tag)) !== undefined) return tag
  await (kind === undefined ? smallImage(podman.engine, tag) : imageOfKind(podman.engine, kind, tag))
  return tag
}

/** How a test workspace is made. */
export interface WorkspaceOptions {
  /** Further lines of `config.toml`. */
  readonly config?: string
  /** `false` for tests that make no container: the tiny image is then not imported. */
  readonly image?: boolean
  /** Base name of the home, which the name of the workspace begins with; default: `ws`. */
  readonly home?: string
  /** Directory that the home is made in; default: a temporary one of its own, which is removed in the end. */
  readonly directory?: string
  /** Directory of installed programs; default: those of the checkout. */
  readonly bin?: string
  /** Socket of a podman service of the test's own, for the daemon to use in place of one that it starts itself. */
  readonly podmanSocket?: string
}

/**
 * Makes a workspace in temporary directories. Nothing runs in it before loopctl is called.
 * Disposal removes its loops, stops its daemon and its podman service, and fails when a container or network is left.
 */
export async function makeWorkspace(options: WorkspaceOptions = {}): Promise<TestWorkspace> {
  const programs = programsIn(options.bin)
  await Promise.all([access(programs.loopctl), access(programs.loopatd)])
  const image = options.image === false ? 'localhost/none:1' : await ensureImage()
  const root = options.directory ?? (await mkdtemp(join(tmpdir(), 'e2e-')))
  const home = join(root, options.home ?? 'ws')
  await mkdir(home, { mode: 0o700 })
  await writeFile(join(home, 'config.toml'), `image.name = "${image}"\n${options.config ?? ''}`)
  const podman = options.podmanSocket === undefined ? {} : { LOOPAT_PODMAN_SOCKET: options.podmanSocket }
  // An installed loopctl finds its daemon by itself.
  const daemon = options.bin === undefined ? { LOOPATD } : {}
  const env = { ...cleanEnvironment(), LOOPAT_HOME: home, LOOPAT_LOG_LEVEL: 'debug', ...daemon, ...podman }
  const uid = process.getuid?.() ?? 0
  const workspace = findWorkspace({ env, uid, homedir: homedir(), tmpdir: tmpdir() })
  const made = options.directory === undefined ? root : home
  return new E2eWorkspace({ workspace, root, made, image, env, programs })
}

interface Programs {
  readonly loopctl: string
  readonly loopatd: string
}

function programsIn(bin: string | undefined): Programs {
  if (bin === undefined) return { loopctl: LOOPCTL, loopatd: LOOPATD }
  return { loopctl: join(bin, 'loopctl'), loopatd: join(bin, 'loopatd') }
}

interface Parts {
  readonly workspace: Workspace
  readonly root: string
  /** What is removed in the end. */
  readonly made: string
  readonly image: string
  readonly env: Record<string, string>
  readonly programs: Programs
}

class E2eWorkspace implements TestWorkspace {
  readonly name: string
  readonly home: string
  readonly runtimeDir: string
  readonly socket: string
  readonly image: string
  readonly program: string
  readonly env: Readonly<Record<string, string>>
  readonly engine: Engine
  readonly service: OwnService
  readonly directory: string
  readonly #children = new Set<ChildProcess>()
  readonly #loopatd: string
  readonly #made: string

  constructor({ workspace, root, made, image, env, programs }: Parts) {
    this.name = workspace.name
    this.home = workspace.home
    this.runtimeDir = workspace.runtimeDir
    this.socket = workspace.socket
    this.image = image
    this.env = env
    this.program = programs.loopctl
    this.#loopatd = programs.loopatd
    this.directory = root
    this.#made = made
    this.service = new OwnService({ runtimeDir: this.runtimeDir, logDir: join(this.home, 'log'), env })
    this.engine = createPodmanEngine({ socketPath: () => env.LOOPAT_PODMAN_SOCKET ?? this.service.socketPath })
  }

  spawn(args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return this.#start(this.program, args, options)
  }

  #start(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    const child = spawn(program, args, { ...options, env: { ...this.env, ...options.env } })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  loopctl(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return this.#run(this.program, args, options)
  }

  loopatd(): Promise<Outcome> {
    return this.#run(this.#loopatd, [], {})
  }

  async git(directory: string, ...args: string[]): Promise<void> {
    const env = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' }
    const who = ['-c', 'user.name=Test', '-c', 'user.email=test@example.invalid']
    const { code, stderr } = await this.#run('git', [...who, '-C', directory, ...args], { env })
    if (code !== 0) throw new Error(`git ${args.join(' ')} exited with ${code}: ${stderr}`)
  }

  async pathWithout(program: string): Promise<string> {
    const directory = join(this.directory, `without-${program}`)
    await mkdir(directory)
    for (const place of (this.env.PATH ?? '').split(':').reverse()) {
      if (!existsSync(place)) continue
      for (const name of await readdir(place)) {
        if (name === program) continue
        await rm(join(directory, name), { force: true })
        await symlink(join(place, name), join(directory, name))
      }
    }
    return directory
  }

  async #run(program: string, args: readonly string[], options: RunOptions): Promise<Outcome> {
    const { env = {} } = options
    const cwd = options.cwd === undefined ? {} : { cwd: options.cwd }
    const child = this.#start(program, args, { ...cwd, env, stdio: ['pipe', 'pipe', 'pipe'] })
    const { stdin, stdout, stderr } = child
    if (stdin === null || stdout === null || stderr === null) throw new Error(`${program} has no pipes`)
    const output = options.stdout === undefined ? collect(stdout) : pipeline(stdout, options.stdout).then(() => '')
    const fed = feed(stdin, options.input)
    const [[code, signal], out, err] = await Promise.all([once(child, 'close'), output, collect(stderr), fed])
    return { code: typeof code === 'number' ? code : signalCode(signal), stdout: out, stderr: err }
  }

  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.loopctl(args)
    if (code !== 0) throw new Error(`loopctl ${args.join(' ')} exited with ${code}: ${stderr}`)
    return stdout.replace(/\n$/, '')
  }

  async json<T>(...args: string[]): Promise<T> {
    const value: T = JSON.parse(await this.ok(...args, '--json'))
    return value
  }

  async daemonPid(): Promise<number> {
    return (await this.json<{ pid: number }>('daemon', 'status')).pid
  }

  containers(): Promise<ContainerSummary[]> {
    return this.engine.container.list({ 'loopat.workspace': this.name })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL')
    try {
      await this.#removeLoops()
    } finally {
      await this.#stop()
    }
  }

  async #removeLoops(): Promise<void> {
    const engine = await this.#engineInUse()
    if (engine === undefined) return
    const loops = await this.json<{ id: string; state: string }[]>('ls', '--all')
    const ids = loops.filter(({ state }) => state !== 'broken').map(({ id }) => id)
    if (ids.length > 0) await this.ok('rm', '--force', ...ids)
    const ours = { 'loopat.workspace': this.name }
    const left = await engine.container.list(ours)
    for (const { id } of left) await engine.container.remove(id)
    const networks = await engine.network.list(ours)
    for (const { name } of networks) await engine.network.remove(name)
    const names = [...left, ...networks].map(({ name }) => name)
    if (names.length > 0) throw new Error(`left behind in podman: ${names.join(', ')}`)
  }

  /** That of the podman which the daemon uses, or used: also one that others run. Undefined when there is none. */
  async #engineInUse(): Promise<Engine | undefined> {
    const { LOOPAT_PODMAN_SOCKET: environment, XDG_RUNTIME_DIR: xdgRuntimeDir } = this.env
    if (environment !== undefined || (await this.service.pid()) !== undefined) return this.engine
    const loops = join(this.home, 'loops')
    if (!existsSync(loops) || (await readdir(loops)).length === 0) return undefined
    const { podman } = await locatePodman(candidateSockets({ xdgRuntimeDir }))
    return podman && createPodmanEngine({ socketPath: podman.socketPath })
  }

  async #stop(): Promise<void> {
    await this.loopctl(['daemon', 'stop'])
    await this.service.end()
    await removeAsRoot(this.#made, this.env)
    await rm(this.#made, { recursive: true, force: true })
    await rm(this.runtimeDir, { recursive: true, force: true })
  }
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** A program may end before it has read all of its input. */
async function feed(stdin: Writable, input: RunOptions['input']): Promise<void> {
  try {
    await pipeline(input instanceof Readable ? input : Readable.from(input === undefined ? [] : [input]), stdin)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'EPIPE' && code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
  }
}

function signalCode(signal: unknown): number {
  const numbers: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15 }
  return 128 + (numbers[String(signal)] ?? 0)
}

/**
 * Waits until a condition holds.
 * @param what names it in the error
 * @throws Error when it does not in time; default: within 30 seconds
 */
export async function eventually(
  what: string,
  holds: () => Promise<boolean>,
  { ms = 30_000 }: { readonly ms?: number } = {},
): Promise<void> {
  const deadline = performance.now() + ms
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it never happened that ${what}`)
    await sleep(100)
  }
}

/** Resident memory of a process, in bytes. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}

/** Processes of this host, those in loops included, that have exactly these arguments, or end with them. */
export async function processesWith(
  argv: readonly string[],
  { atEnd = false }: { readonly atEnd?: boolean } = {},
): Promise<number[]> {
  const wanted = argv.map((word) => `${word}\0`).join('')
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(
    pids.map(async (pid) => {
      const text = await argumentsOf(pid)
      return text === wanted || (atEnd && text.endsWith(`\0${wanted}`)) ? [Number(pid)] : []
    }),
  )
  return found.flat()
}

/** The command line of a process, a NUL after each word; none of one that ends while it is looked at. */
export async function argumentsOf(pid: string): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/cmdline`, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return ''
    throw error
  }
}
