import { lstat, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { LoopInfo } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ContainerDetails } from '../../daemon/engine/engine.ts'
import { removeAsRoot } from '../../daemon/engine/podman/unshare.ts'
import type { RepoAccess } from '../../daemon/git/repo-access.ts'
import { LeaseRegister } from '../../daemon/idle/lease.ts'
import { systemClock } from '../../daemon/lib/clock.ts'
import { noProgress } from '../../daemon/lib/progress.ts'
import { LAUNCHER } from '../../daemon/loop/launcher.ts'
import type { LoopChange, LoopImages } from '../../daemon/loop/loop-options.ts'
import { LoopService } from '../../daemon/loop/loop-service.ts'
import { LoopStore } from '../../daemon/loop/loop-store.ts'
import { VaultStore } from '../../daemon/vault/vault-store.ts'
import { guardOf, type LogLine, memoryLog, never } from '../daemon/loop/kit.ts'
import { skipsPodman, smallImage, startPodman, type TestImage, type TestPodman } from '../harness/podman.ts'

const WORKSPACE = `loop-test-${process.pid}`
const lines: LogLine[] = []
const changes: LoopChange[] = []

let podman: TestPodman
let image: TestImage
let service: LoopService

const repos: RepoAccess = {
  clone: async (request) => {
    await writeFile(join(request.workdir, 'README'), 'hello\n')
    const repo = { source: request.source, url: request.source, mirror: 'demo', start: 'a'.repeat(40) }
    await mkdir(repos.mirrorPath('demo'), { recursive: true })
    await writeFile(join(repos.mirrorPath('demo'), 'HEAD'), 'ref: refs/heads/main\n')
    return { repo, branch: request.branch }
  },
  mirrorPath: (mirror) => join(podman.directory, 'home', 'mirrors', `${mirror}.git`),
  unpromoted: async (run, signal) => {
    const { stdout } = await run(['ls', '-A'], {}, signal)
    return {
      commits: [],
      files: stdout
        .toString()
        .split('\n')
        .filter((name) => name.startsWith('new')),
    }
  },
  keepBranches: async () => [],
}

const loopsDirectory = () => join(podman.directory, 'home', 'loops')
const controlDirectory = () => join(podman.directory, 'control')

function makeService(): LoopService {
  const log = memoryLog(lines)
  const home = join(podman.directory, 'home')
  const found = { tag: image.tag, id: image.id }
  const images: LoopImages = { ensure: async () => found, ensureNamed: async () => found, known: () => image.id }
  return new LoopService({
    engine: podman.engine,
    store: new LoopStore({
      directory: loopsDirectory(),
      log,
      removeAsRoot: (path) => removeAsRoot(path, process.env),
    }),
    images,
    repos,
    vaults: new VaultStore({
      home: join(podman.directory, 'home'),
      log,
      removeTree: (path) => removeAsRoot(path, process.env),
    }),
    leases: new LeaseRegister(systemClock),
    clock: systemClock,
    log,
    paths: { home, loops: loopsDirectory(), control: controlDirectory() },
    mounts: { operator: [], userHome: homedir(), guard: guardOf(home) },
    workspace: WORKSPACE,
    user: 'ada',
    onChange: (change) => void changes.push(change),
  })
}

const create = async (params: { name: string; start?: boolean; repo?: { source: string } }): Promise<LoopInfo> =>
  (await service.create({ start: true, ...params }, noProgress, never)).loop
const start = (loop: string) => service.start({ loop }, noProgress, never)
const stop = (loop: string) => service.stop({ loop, graceSeconds: 5 }, never)
const state = async (loop: string) => (await service.get({ loop }, never)).loop.state

async function details(loop: string): Promise<ContainerDetails> {
  const { container } = await service.get({ loop }, never)
  const found = await podman.engine.container.inspect(container.name)
  if (found === undefined) throw new Error(`no container ${container.name}`)
  return found
}

/** Runs a shell command in a loop. */
async function inside(loop: string, script: string, user?: string): Promise<string> {
  const use = await service.use(loop, { start: true, owner: 'test', reason: script }, noProgress, never)
  const exec = await podman.engine.container.exec(use.container, {
    command: ['/bin/sh', '-c', script],
    cwd: use.workdir,
    env: use.env,
    stdin: false,
    ...(user === undefined ? {} : { user }),
  })
  try {
    const [out, err, { exitCode }] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.exit])
    if (exitCode !== 0) throw new Error(`${script}: ${exitCode}: ${err}`)
    return out.trim()
  } finally {
    exec.close()
    use.release()
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('waited in vain')
}

describe.skipIf(skipsPodman())('loops on podman', () => {
  beforeAll(async () => {
    podman = await startPodman()
    image = await smallImage(podman.engine, `localhost/loopat-loop-test:${process.pid}`)
    await mkdir(loopsDirectory(), { recursive: true })
    service = makeService()
    await service.open()
  })

  afterAll(async () => {
    if (podman === undefined) return
    await service?.[Symbol.asyncDispose]()
    const ours = { 'loopat.workspace': WORKSPACE }
    for (const { id } of await podman.engine.container.list(ours)) await podman.engine.container.remove(id)
    for (const { name } of await podman.engine.network.list(ours)) await podman.engine.network.remove(name)
    await image?.[Symbol.asyncDispose]()
    await removeAsRoot(join(podman.directory, 'home'), process.env)
    await podman[Symbol.asyncDispose]()
  })

  it('should make a container as specified', async () => {
    const loop = await create({ name: 'spec', repo: { source: 'https://example.com/demo.git' } })
    expect(loop).toMatchObject({ state: 'running', reason: null })
    expect(LoopInfo.parse(loop)).toEqual(loop)
    expect(loop.address).toMatch(/^\d+\.\d+\.\d+\.\d+$/)
    const found = await details('spec')
    expect(found).toMatchObject({
      name: `loopat-${WORKSPACE}-${loop.id}`,
      status: 'running',
      imageId: image.id,
      labels: {
        'loopat.loop-id': loop.id,
        'loopat.workspace': WORKSPACE,
        'loopat.base-image-id': image.id,
        'loopat.config-hash': expect.stringMatching(/^[0-9a-f]{16}$/),
      },
    })
    expect(await inside('spec', 'hostname; pwd; id -u; echo "$HOME"')).toBe(
      [`loop-${loop.id.slice(0, 8)}`, `/loopat/loop/${loop.id}/workdir`, '2000', '/home/loopat'].join('\n'),
    )
    // Process 1 is the init, its child the launcher.
    expect(await inside('spec', "tr '\\0' ' ' </proc/1/cmdline")).toContain('init')
    expect(await inside('spec', `grep -l ${LAUNCHER[1]} /proc/[0-9]*/cmdline | head -n 1`)).toMatch(/^\/proc\//)
    expect(await podman.engine.network.list({ 'loopat.loop-id': loop.id })).toMatchObject([
      { name: `loopat-${WORKSPACE}-${loop.id.slice(0, 8)}` },
    ])
  })

  it('should let files written inside belong to the user outside, and the reverse', async () => {
    const { paths } = await service.get({ loop: 'spec' }, never)
    expect(await inside('spec', 'cat README; echo data > made; stat -c %u README; id -un')).toBe('hello\n2000\nloopat')
    expect((await lstat(join(paths.workdir, 'made'))).uid).toBe(process.getuid?.())
    await inside('spec', 'echo home > ~/kept && echo run > /loopat/run/log')
    expect(await readFile(join(paths.home, 'kept'), 'utf8')).toBe('home\n')
    expect((await lstat(paths.home)).uid).toBe(process.getuid?.())
  })

  it('should mount the control directory and the mirror read-only', async () => {
    await expect(inside('spec', 'echo x > /loopat/control/x')).rejects.toThrow(/[Rr]ead-only/)
    await expect(inside('spec', 'echo x > /loopat/mirrors/demo.git/x')).rejects.toThrow(/[Rr]ead-only/)
    expect(await inside('spec', 'cat /loopat/mirrors/demo.git/HEAD')).toBe('ref: refs/heads/main')
  })

  it('should stop promptly and start the same container with its home', async () => {
    const before = await details('spec')
    expect((await stop('spec')).loop).toMatchObject({ state: 'stopped', startedAt: null })
    // TERM was enough.
    expect((await details('spec')).exitCode).toBe(143)
    expect(await stop('spec')).toMatchObject({ loop: { state: 'stopped' } })
    expect(await start('spec')).toMatchObject({ action: 'started', reason: null, loop: { state: 'running' } })
    expect((await details('spec')).id).toBe(before.id)
    expect(await inside('spec', 'cat ~/kept')).toBe('home')
    expect(await start('spec')).toMatchObject({ action: 'none' })
  })

  it('should restart', async () => {
    const before = await details('spec')
    const { action } = await service.restart({ loop: 'spec' }, noProgress, never)
    expect(action).toBe('started')
    const after = await details('spec')
    expect(after.id).toBe(before.id)
    expect(after.startedAt).not.toBe(before.startedAt)
  })

  it('should refuse to use an archived loop, and bring it back', async () => {
    expect((await service.archive({ loop: 'spec' }, never)).loop).toMatchObject({ state: 'archived' })
    expect((await details('spec')).status).toBe('exited')
    await expect(start('spec')).rejects.toMatchObject({ code: 'loop_archived' })
    expect((await service.unarchive({ loop: 'spec' }, never)).loop).toMatchObject({ state: 'stopped' })
    expect(await start('spec')).toMatchObject({ action: 'started' })
  })

  it('should make one container for twenty starts at once', async () => {
    await create({ name: 'herd', start: false })
    const results = await Promise.all(Array.from({ length: 20 }, () => start('herd')))
    expect(new Set(results.map(({ loop }) => loop.state))).toEqual(new Set(['running']))
    const { id } = (await service.get({ loop: 'herd' }, never)).loop
    expect(await podman.engine.container.list({ 'loopat.loop-id': id })).toHaveLength(1)
  })

  it('should give ten loops made at once a container each', async () => {
    const names = Array.from({ length: 10 }, (_, index) => `crowd-${index}`)
    const loops = await Promise.all(names.map((name) => create({ name })))
    expect(new Set(loops.map(({ state }) => state))).toEqual(new Set(['running']))
    await Promise.all(names.map((loop) => service.remove({ loop, force: false, keepBranch: false }, noProgress, never)))
    expect(await podman.engine.container.list({ 'loopat.workspace': WORKSPACE })).toHaveLength(2)
  })

  it('should mend a loop whose network vanished', async () => {
    const { id } = (await stop('herd')).loop
    const network = `loopat-${WORKSPACE}-${id.slice(0, 8)}`
    // The network goes although a container wants it, as when somebody prunes by force.
    await rm(join(process.env.HOME ?? '', '.local/share/containers/storage/networks', `${network}.json`), {
      force: true,
    })
    expect(await podman.engine.network.list({ 'loopat.loop-id': id })).toEqual([])
    const { action, reason, loop } = await start('herd')
    expect(action).toBe('recreated')
    expect(reason).toContain('network')
    expect(loop.state).toBe('running')
    expect(await podman.engine.network.list({ 'loopat.loop-id': id })).toHaveLength(1)
  })

  it('should start a loop whose control directory vanished', async () => {
    const { id } = (await stop('herd')).loop
    await rm(join(controlDirectory(), id), { recursive: true })
    expect(await start('herd')).toMatchObject({ loop: { state: 'running' } })
    expect(await inside('herd', 'ls -d /loopat/control')).toBe('/loopat/control')
  })

  it('should see a container die, and one that is removed behind its back', async () => {
    const { container } = await service.get({ loop: 'herd' }, never)
    changes.length = 0
    await podman.engine.container.stop(container.name, 1)
    await until(async () => (await state('herd')) === 'stopped')
    await start('herd')
    await podman.engine.container.remove(container.name)
    await until(async () => (await state('herd')) === 'stopped')
    expect(changes.map(({ loop }) => loop.state)).toEqual(expect.arrayContaining(['stopped', 'starting', 'running']))
    expect(await start('herd')).toMatchObject({ action: 'created', loop: { state: 'running' } })
  })

  it('should adopt running loops after a crash, and remove what belongs to none', async () => {
    const before = await details('herd')
    const gone = await create({ name: 'gone' })
    const { paths } = await service.get({ loop: 'gone' }, never)
    await service[Symbol.asyncDispose]()
    await rm(paths.directory, { recursive: true })
    service = makeService()
    await service.open()
    expect(await state('herd')).toBe('running')
    await until(async () => (await podman.engine.network.list({ 'loopat.loop-id': gone.id })).length === 0)
    expect(await podman.engine.container.list({ 'loopat.loop-id': gone.id })).toEqual([])
    expect(await start('herd')).toMatchObject({ action: 'none' })
    expect(await details('herd')).toMatchObject({ id: before.id, startedAt: before.startedAt })
  })

  it('should refuse to remove unpromoted work, then remove everything with files of other users', async () => {
    const { id } = (await service.get({ loop: 'spec' }, never)).loop
    await stop('spec')
    const { paths } = await service.get({ loop: 'spec' }, never)
    await writeFile(join(paths.workdir, 'new-file'), 'work\n')
    const remove = (force: boolean) => service.remove({ loop: 'spec', force, keepBranch: false }, noProgress, never)
    await expect(remove(false)).rejects.toMatchObject({ code: 'unpromoted_work', details: { files: ['new-file'] } })
    expect(await state('spec')).toBe('stopped')
    await inside('spec', 'mkdir ~/foreign && touch ~/foreign/file && chown -R 1234:1234 ~/foreign', 'root')
    expect((await lstat(join(paths.home, 'foreign'))).uid).not.toBe(process.getuid?.())
    expect(await remove(true)).toEqual({ id, removed: true })
    expect(await readdir(loopsDirectory())).not.toContain(id)
    expect((await readdir(loopsDirectory())).filter((name) => name.startsWith('.'))).toEqual([])
    expect(await podman.engine.container.list({ 'loopat.loop-id': id })).toEqual([])
    expect(await podman.engine.network.list({ 'loopat.loop-id': id })).toEqual([])
    expect(await readdir(controlDirectory())).not.toContain(id)
    expect(await service.remove({ loop: id, force: false, keepBranch: false }, noProgress, never)).toEqual({
      id,
      removed: false,
    })
  })
})
