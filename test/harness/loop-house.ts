import { mkdir, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { ParamsOf } from '@loopatd/protocol'
import type { ContainerDetails } from '../../daemon/engine/engine.ts'
import { removeAsRoot } from '../../daemon/engine/podman/unshare.ts'
import type { RepoAccess } from '../../daemon/git/repo-access.ts'
import { LeaseRegister } from '../../daemon/idle/lease.ts'
import { layerRepository } from '../../daemon/image/image-recipe.ts'
import { systemClock } from '../../daemon/lib/clock.ts'
import { noProgress } from '../../daemon/lib/progress.ts'
import type { LoopImages } from '../../daemon/loop/loop-options.ts'
import { LoopService } from '../../daemon/loop/loop-service.ts'
import { LoopStore } from '../../daemon/loop/loop-store.ts'
import type { AskedMount } from '../../daemon/loop/mount-fact.ts'
import { VaultStore } from '../../daemon/vault/vault-store.ts'
import { checked, guardOf, type LogLine, memoryLog, never } from '../daemon/loop/kit.ts'
import type { TestImage, TestPodman } from './podman.ts'
import { ask } from './podman-ask.ts'

/** What a house is made of. */
export interface LoopHouseOptions {
  readonly podman: TestPodman
  /** Image of loops that name none. */
  readonly image: TestImage
  readonly workspace: string
  /** Mounts of the configuration; may be changed while the house stands. */
  readonly operator: AskedMount[]
  /** Images that loops may name. */
  readonly named?: readonly TestImage[]
}

/** Loops on a real podman, without a daemon around them. Use it with `await using`. */
export class LoopHouse implements AsyncDisposable {
  readonly home: string
  readonly lines: LogLine[] = []
  readonly store: LoopStore
  readonly service: LoopService
  readonly #options: LoopHouseOptions

  private constructor(home: string, options: LoopHouseOptions) {
    const { podman, image, workspace, operator, named = [] } = options
    const log = memoryLog(this.lines)
    const directory = join(home, 'loops')
    const find = (tag: string | undefined) => named.find((other) => other.tag === tag) ?? image
    const images: LoopImages = {
      ensure: async () => image,
      ensureNamed: async (tag) => find(tag),
      known: (tag) => find(tag).id,
    }
    this.home = home
    this.#options = options
    const removeTree = (path: string) => removeAsRoot(path, process.env)
    this.store = new LoopStore({ directory, log, removeAsRoot: removeTree })
    this.service = new LoopService({
      engine: podman.engine,
      store: this.store,
      images,
      repos: fakeRepos(join(home, 'mirrors')),
      vaults: new VaultStore({ home, log, removeTree }),
      mounts: { operator, userHome: join(home, '..', 'user'), guard: guardOf(home) },
      leases: new LeaseRegister(systemClock),
      clock: systemClock,
      log,
      paths: { home, loops: directory, control: join(podman.directory, 'control') },
      workspace,
      user: 'ada',
      onChange: () => undefined,
    })
  }

  static async open(options: LoopHouseOptions): Promise<LoopHouse> {
    const home = join(await realpath(options.podman.directory), 'home')
    await mkdir(join(home, 'loops'), { recursive: true })
    const house = new LoopHouse(home, options)
    await house.service.open()
    return house
  }

  /** Creates a loop; defaults as over the wire. @returns its id */
  async create(params: ParamsOf<'loop/create'> = {}): Promise<string> {
    return (await this.service.create(checked('loop/create', params), noProgress, never)).loop.id
  }

  async start(loop: string) {
    const { action, reason } = await this.service.start({ loop }, noProgress, never)
    return { action, reason }
  }

  async stop(loop: string): Promise<void> {
    await this.service.stop({ loop, graceSeconds: 5 }, never)
  }

  async inspect(loop: string) {
    return await this.service.inspect({ loop }, never)
  }

  /** The container of a loop, as the engine tells it. */
  async container(loop: string): Promise<ContainerDetails> {
    const { container } = await this.service.get({ loop }, never)
    const found = await this.#options.podman.engine.container.inspect(container.name)
    if (found === undefined) throw new Error(`no container ${container.name}`)
    return found
  }

  /** The same, as podman itself tells it. */
  async asked(loop: string): Promise<unknown> {
    return await ask(this.#options.podman.socketPath, `/containers/${(await this.container(loop)).id}/json`)
  }

  /** Runs a shell script in a loop. @returns its output. @throws Error when it fails */
  async inside(loop: string, script: string, user?: string): Promise<string> {
    const use = await this.service.use(loop, { start: true, owner: 'test', reason: script }, noProgress, never)
    const command = ['/bin/sh', '-c', script]
    const as = user === undefined ? {} : { user }
    const spec = { command, cwd: use.workdir, env: use.env, stdin: false, ...as }
    const exec = await this.#options.podman.engine.container.exec(use.container, spec)
    try {
      const [out, err, { exitCode }] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.exit])
      if (exitCode !== 0) throw new Error(`${script}: ${exitCode}: ${err}`)
      return out.trim()
    } finally {
      exec.close()
      use.release()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { podman, workspace } = this.#options
    await this.service[Symbol.asyncDispose]()
    const ours = { 'loopat.workspace': workspace }
    for (const { id } of await podman.engine.container.list(ours)) await podman.engine.container.remove(id)
    for (const { name } of await podman.engine.network.list(ours)) await podman.engine.network.remove(name)
    const layers = (await podman.engine.image.list(`${layerRepository(workspace)}:`)).flatMap(({ tags }) => tags)
    for (const tag of layers) await podman.engine.image.untag(tag)
    await removeAsRoot(this.home, process.env)
    await rm(join(podman.directory, 'control'), { recursive: true, force: true })
  }
}

/** Repositories without git: a mirror of one file. */
function fakeRepos(mirrors: string): RepoAccess {
  const mirrorPath = (mirror: string) => join(mirrors, `${mirror}.git`)
  return {
    clone: async ({ source, branch }) => {
      await mkdir(mirrorPath('demo'), { recursive: true })
      return { repo: { source, url: source, mirror: 'demo', start: 'a'.repeat(40) }, branch }
    },
    mirrorPath,
    unpromoted: async () => ({ commits: [], files: [] }),
    keepBranches: async () => [],
  }
}
