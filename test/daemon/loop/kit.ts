import { setMaxListeners } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CheckedParamsOf, type LoopInfo, METHODS, type ParamsOf, type Progress } from '@loopatd/protocol'
import type { CloneRequest, CloneResult, RepoAccess, UnpromotedWork } from '../../../daemon/git/repo-access.ts'
import type { RunInLoop } from '../../../daemon/git/run-in-loop.ts'
import { IdleFiles } from '../../../daemon/idle/idle-file.ts'
import { IdleService, type IdleServiceOptions } from '../../../daemon/idle/idle-service.ts'
import { LeaseRegister } from '../../../daemon/idle/lease.ts'
import { writeFileAtomic } from '../../../daemon/lib/atomic-file.ts'
import { type Clock, systemClock } from '../../../daemon/lib/clock.ts'
import { noProgress, type OnProgress } from '../../../daemon/lib/progress.ts'
import type { Logger } from '../../../daemon/log.ts'
import type { LoopChange, LoopImage, LoopImages } from '../../../daemon/loop/loop-options.ts'
import { LoopService } from '../../../daemon/loop/loop-service.ts'
import { LoopStore, type StoreFiles } from '../../../daemon/loop/loop-store.ts'
import type { LoopMounts } from '../../../daemon/loop/mount-fact.ts'
import { MountGuard, protectedPlaces } from '../../../daemon/loop/mount-guard.ts'
import { GatedAdmission } from '../../../daemon/loop/start-admission.ts'
import { VaultStore } from '../../../daemon/vault/vault-store.ts'
import { FakeEngine } from '../../fake/engine.ts'

/** A signal that never aborts. Many calls at once listen to it. */
export const never = new AbortController().signal
setMaxListeners(0, never)
/** Name of the workspace in these tests. */
export const WORKSPACE = 'ws'
/** The sandbox image in these tests. */
export const IMAGE = 'localhost/sandbox:1'
/** Id of a loop that does not exist. */
export const UNKNOWN_ID = '11111111-2222-4333-8444-555555555555'

/** One line of the log. */
export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: object
  readonly message: string
}

/** The clock of this machine, for tests that wait for nothing to happen. */
export const hastyClock: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 20), signal) }

/** Collects what is logged. */
export function memoryLog(lines: LogLine[]): Logger {
  const write = (level: LogLine['level']) => (fields: object, message: string) => {
    lines.push({ level, fields, message })
  }
  const log: Logger = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  }
  return log
}

/** Images that are there, or fail to be. */
export class FakeImages implements LoopImages {
  failure: Error | undefined
  /** What {@link known} says; undefined until something was asked for. */
  readonly knownIds = new Map<string, string>()
  asked = 0
  readonly #engine: FakeEngine

  constructor(engine: FakeEngine) {
    this.#engine = engine
  }

  async ensure(onProgress: OnProgress, signal: AbortSignal): Promise<LoopImage> {
    return await this.#find(IMAGE, '', onProgress, signal)
  }

  async ensureNamed(image: string, onProgress: OnProgress, signal: AbortSignal): Promise<LoopImage> {
    return await this.#find(image, image, onProgress, signal)
  }

  known(image = ''): string | undefined {
    return this.knownIds.get(image)
  }

  /** Puts another image under the tag, as a rebuild does. */
  rebuild(): string {
    const { id } = this.#engine.image.add(IMAGE)
    this.knownIds.set('', id)
    return id
  }

  async #find(tag: string, key: string, onProgress: OnProgress, signal: AbortSignal): Promise<LoopImage> {
    signal.throwIfAborted()
    this.asked += 1
    onProgress({ message: `image ${tag}` })
    if (this.failure !== undefined) throw this.failure
    const { id } = this.#engine.image.find(tag) ?? this.#engine.image.add(tag)
    this.knownIds.set(key, id)
    return { tag, id }
  }
}

/** Repositories without git: a clone is one file. */
export class FakeRepos implements RepoAccess {
  failure: Error | undefined
  work: UnpromotedWork = { commits: [], files: [] }
  readonly kept: string[] = []
  readonly requests: CloneRequest[] = []
  readonly #mirrors: string
  /** Called in the middle of a clone. */
  onClone: (() => void) | undefined

  constructor(mirrors: string) {
    this.#mirrors = mirrors
  }

  async clone(request: CloneRequest, _onProgress: OnProgress, signal: AbortSignal): Promise<CloneResult> {
    this.requests.push(request)
    this.onClone?.()
    signal.throwIfAborted()
    if (this.failure !== undefined) throw this.failure
    await mkdir(this.mirrorPath('demo'), { recursive: true })
    await writeFile(join(request.workdir, 'README'), 'hello\n')
    const repo = { source: request.source, url: request.source, mirror: 'demo', start: 'a'.repeat(40) }
    return { repo, branch: request.branch }
  }

  mirrorPath(mirror: string): string {
    return join(this.#mirrors, `${mirror}.git`)
  }

  async unpromoted(run: RunInLoop, signal: AbortSignal): Promise<UnpromotedWork> {
    const { exitCode } = await run(['true'], {}, signal)
    if (exitCode !== 0) throw new Error('no command runs in the loop')
    return this.work
  }

  async keepBranches(run: RunInLoop, _mirror: string, signal: AbortSignal): Promise<string[]> {
    await run(['true'], {}, signal)
    this.kept.push('loop/x')
    this.work = { commits: [], files: this.work.files }
    return ['loop/x']
  }
}

/** Guards a workspace as the daemon does. */
export function guardOf(home: string): MountGuard {
  const uid = process.getuid?.() ?? 0
  const facts = { home, runtime: join(home, 'runtime'), userHome: homedir(), uid, env: process.env, sockets: [] }
  return new MountGuard(protectedPlaces(facts))
}

/** What a workshop may be made with. */
export interface WorkshopOptions {
  /** As in {@link LoopService}'s options. */
  readonly homeIsNew?: boolean
  readonly clock?: Clock
  /** Mounts of the configuration, and what guards them. */
  readonly mounts?: Partial<LoopMounts>
  readonly files?: StoreFiles
  /** The engine of a workshop that was left; it is then not disposed with this one. */
  readonly engine?: FakeEngine
  /** The home of a workshop that was left. */
  readonly home?: string
  readonly removeAsRoot?: (path: string) => Promise<void>
  /** Whether the engine is down, or its clean-up fails, so that nobody waits for it. */
  readonly isDown?: boolean
  /** How loops sleep; default: not before half an hour. */
  readonly idle?: Partial<Pick<IdleServiceOptions, 'windows' | 'boot' | 'maxRunning'>>
  /** How many loops may start at the same time; default: any number. */
  readonly places?: number
  /** Is told of every change, too. */
  readonly onChange?: (change: LoopChange) => void
}

/** A loop service in a temporary home, with everything around it faked. Use it with `await using`. */
export class Workshop implements AsyncDisposable {
  readonly home: string
  readonly engine: FakeEngine
  readonly images: FakeImages
  readonly repos: FakeRepos
  readonly vaults: VaultStore
  readonly leases: LeaseRegister
  readonly store: LoopStore
  readonly service: LoopService
  readonly idle: IdleService
  readonly changes: LoopChange[] = []
  readonly lines: LogLine[] = []
  readonly #ownsEngine: boolean

  private constructor(home: string, options: WorkshopOptions) {
    const clock = options.clock ?? systemClock
    this.home = home
    this.#ownsEngine = options.engine === undefined
    this.engine = options.engine ?? new FakeEngine({ images: [IMAGE] })
    this.images = new FakeImages(this.engine)
    this.repos = new FakeRepos(join(home, 'mirrors'))
    this.leases = new LeaseRegister(clock)
    const log = memoryLog(this.lines)
    this.vaults = new VaultStore({ home, log, removeTree: (path) => rm(path, { recursive: true }) })
    const directory = join(home, 'loops')
    this.store = new LoopStore({
      directory,
      log,
      removeAsRoot: options.removeAsRoot ?? (() => Promise.reject(new Error('nobody is root here'))),
      ...(options.files === undefined ? {} : { files: options.files }),
    })
    this.idle = new IdleService({
      leases: this.leases,
      files: new IdleFiles(directory),
      loops: {
        look: (ref, signal) => this.service.look(ref, signal),
        list: (params, signal) => this.service.list(params, signal),
        sleep: (id, request, signal) => this.service.sleep(id, request, signal),
      },
      clock,
      log,
      boot: 'boot-1',
      windows: { environment: undefined, config: undefined },
      ...options.idle,
    })
    this.service = new LoopService({
      engine: this.engine,
      store: this.store,
      images: this.images,
      repos: this.repos,
      vaults: this.vaults,
      leases: this.leases,
      admission: new GatedAdmission({
        places: options.places ?? 1000,
        makeRoom: (starting, onProgress, signal) => this.idle.makeRoom(starting, onProgress, signal),
      }),
      clock,
      log,
      paths: { home, loops: directory, control: join(home, 'runtime', 'control') },
      mounts: { operator: [], userHome: homedir(), guard: guardOf(home), ...options.mounts },
      workspace: WORKSPACE,
      user: 'ada',
      homeIsNew: options.homeIsNew ?? false,
      onChange: (change) => {
        this.changes.push(change)
        this.idle.changed(change)
        options.onChange?.(change)
      },
      onContainer: (id, run) => this.idle.container(id, run),
    })
  }

  static async open(options: WorkshopOptions = {}): Promise<Workshop> {
    const home = options.home ?? (await mkdtemp(join(tmpdir(), 'loopat-loop-')))
    await mkdir(join(home, 'loops'), { recursive: true })
    const workshop = new Workshop(home, options)
    await workshop.idle.open()
    await workshop.service.open()
    workshop.idle.begin()
    if (options.isDown !== true) await until(() => workshop.engine.faults.calls.includes('image.cleanUp'))
    workshop.engine.faults.clearCalls()
    return workshop
  }

  /** Ends the service as a crash of the daemon does: engine and home stay. */
  async leave(): Promise<void> {
    await this.idle[Symbol.asyncDispose]()
    await this.service[Symbol.asyncDispose]()
  }

  /** Opens another service on the same home and engine, as the next daemon does. */
  async reopen(options: WorkshopOptions = {}): Promise<Workshop> {
    await this.leave()
    return await Workshop.open({ ...options, home: this.home, engine: this.engine })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave()
    if (!this.#ownsEngine) return
    await this.engine[Symbol.asyncDispose]()
    await rm(this.home, { recursive: true, force: true })
  }

  /** Creates a loop; defaults as over the wire. */
  async create(
    params: ParamsOf<'loop/create'> = {},
    onProgress: OnProgress = noProgress,
    signal: AbortSignal = never,
  ): Promise<LoopInfo> {
    return (await this.service.create(checked('loop/create', params), onProgress, signal)).loop
  }

  /** Starts a loop; collects its progress. */
  async start(loop: string, progress: Progress[] = [], signal: AbortSignal = never) {
    return await this.service.start(checked('loop/start', { loop }), (step) => void progress.push(step), signal)
  }

  async stop(loop: string): Promise<LoopInfo> {
    return (await this.service.stop(checked('loop/stop', { loop }), never)).loop
  }

  async remove(params: ParamsOf<'loop/remove'>) {
    return await this.service.remove(checked('loop/remove', params), noProgress, never)
  }

  /** Changes a loop; defaults as over the wire. */
  async update(params: ParamsOf<'loop/update'>, signal: AbortSignal = never) {
    return await this.service.update(checked('loop/update', params), noProgress, signal)
  }

  /** Tells what a change of a loop would do. */
  async plan(params: ParamsOf<'loop/plan'>) {
    return await this.service.plan(checked('loop/plan', params), never)
  }

  async list(archived: 'exclude' | 'include' | 'only' = 'include'): Promise<LoopInfo[]> {
    return (await this.service.list({ archived }, never)).loops
  }

  async get(loop: string) {
    return await this.service.get({ loop }, never)
  }

  /** The state of a loop. */
  async state(loop: string): Promise<LoopInfo['state']> {
    return (await this.get(loop)).loop.state
  }

  /** Calls of the engine since the last time it was asked, without the engine's own noise. */
  calls(): string[] {
    const calls = this.engine.faults.calls.map((call) => call.replaceAll(`loopat-${WORKSPACE}-`, ''))
    this.engine.faults.clearCalls()
    return calls
  }

  /** Names in a directory below the home; none when it does not exist. */
  async names(...path: string[]): Promise<string[]> {
    try {
      return (await readdir(join(this.home, ...path))).sort()
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
      throw error
    }
  }

  /** The metadata of a loop as it is on disk. */
  async meta(id: string): Promise<Record<string, unknown>> {
    const meta: Record<string, unknown> = JSON.parse(await readFile(this.store.paths(id).meta, 'utf8'))
    return meta
  }
}

/** Params as a service gets them. */
export function checked<
  M extends 'loop/create' | 'loop/plan' | 'loop/remove' | 'loop/start' | 'loop/stop' | 'loop/rename' | 'loop/update',
>(method: M, params: ParamsOf<M>): CheckedParamsOf<M> {
  const parse = METHODS[method].params.parse as (params: unknown) => CheckedParamsOf<M>
  return parse(params)
}

/** Waits until a condition holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 2000; tries += 1) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error('waited in vain')
}

/** A file system that is full when the test says so. */
export function faultyFiles(disk: { full: boolean; code?: string }): { files: StoreFiles } {
  const check = () => {
    const code = disk.code ?? 'ENOSPC'
    if (disk.full) throw Object.assign(new Error(`${code}: as planned`), { code, syscall: 'write' })
  }
  const files: StoreFiles = {
    makeDirectory: async (path) => {
      if (!existsSync(path)) check()
      await mkdir(path, { mode: 0o700 })
    },
    write: async (path, content) => {
      check()
      await writeFileAtomic(path, content)
    },
  }
  return { files }
}
