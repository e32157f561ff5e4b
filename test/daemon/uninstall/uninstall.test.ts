import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { UninstallResource, UninstallVerdict } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { uninstall } from '../../../daemon/uninstall/uninstall.ts'
import { planUninstall } from '../../../daemon/uninstall/uninstall-plan.ts'
import { FakeEngine } from '../../fake/engine.ts'

const never = new AbortController().signal
const container = { kind: 'container', name: 'loopat-foo-1' } as const
const image = { kind: 'image', name: 'localhost/loopat-sandbox-foo:1' } as const
const base = { kind: 'image', name: 'localhost/loopat-base-foo:2' } as const
const network = { kind: 'network', name: 'loopat-foo-net' } as const

describe('uninstalling the workspace foo beside foobar', () => {
  let root: string
  let home: string
  let runtime: string
  let engine: FakeEngine
  /** Whether the workspace's own podman service runs. */
  let serves: boolean

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'uninstall-'))
    home = join(root, 'foo')
    runtime = join(root, 'run')
    serves = false
    engine = new FakeEngine({ images: [image.name, base.name, 'localhost/loopat-sandbox-foobar:1'] })
    for (const name of ['foo', 'foobar']) await addLoop(name)
    for (const path of ['loops/a', 'loops/b', 'loops/.removing-c', 'mirrors/demo.git', 'log']) {
      await mkdir(join(home, path), { recursive: true })
    }
    await mkdir(runtime)
    for (const path of ['foo/config.toml', 'foo/.lock', 'run/loopatd.sock.lock']) await writeFile(join(root, path), '')
  })
  afterEach(async () => {
    await engine[Symbol.asyncDispose]()
    await rm(root, { recursive: true, force: true })
  })

  async function addLoop(workspace: string): Promise<void> {
    const labels = { 'loopat.workspace': workspace }
    await engine.network.ensure({ name: `loopat-${workspace}-net`, labels, resolves: true })
    await engine.container.create({
      name: `loopat-${workspace}-1`,
      image: image.name,
      hostname: workspace,
      labels,
      command: ['sleep', '1'],
      workdir: '/',
      env: {},
      mounts: [],
      keepId: { uid: 1, gid: 1 },
      init: true,
      network: { kind: 'named', name: `loopat-${workspace}-net`, aliases: [] },
      dns: [],
      limits: {},
      stopTimeoutSeconds: 1,
    })
  }

  const service = { socketPath: '/run/podman.sock', pid: async () => (serves ? 1 : undefined) }
  const plan = (from: FakeEngine | { missing: string } = engine) =>
    planUninstall({ workspace: 'foo', home, runtime, engine: from, service }, never)

  async function act(removeTree = (path: string) => rm(path, { recursive: true, force: true })) {
    const verdicts: UninstallVerdict[] = []
    const endService = async () => {
      serves = false
    }
    for await (const verdict of uninstall(await plan(), { engine, endService, removeTree }, never)) {
      verdicts.push(verdict)
    }
    return verdicts
  }

  const gone = (resource: UninstallResource) => ({ ...resource, removed: true, reason: null })
  const data = (name: string) => ({ kind: 'data', name }) as const

  it('should plan what is exactly its own, containers first and data last', async () => {
    serves = true
    expect(await plan()).toEqual({
      workspace: 'foo',
      home,
      loops: 2,
      mirrors: 1,
      vaults: 0,
      noPodman: null,
      resources: [
        container,
        base,
        image,
        network,
        { kind: 'service', name: '/run/podman.sock' },
        data(home),
        data(runtime),
      ],
      kept: [],
    })
  })

  it('should change nothing by planning', async () => {
    engine.faults.clearCalls()
    await plan()
    expect(engine.faults.calls.filter((call) => !/^\w+\.list\b/.test(call))).toEqual([])
  })

  it('should remove it all, and nothing of the other', async () => {
    serves = true
    const verdicts = await act()
    expect(verdicts.every(({ removed }) => removed)).toBe(true)
    expect(verdicts).toHaveLength(7)
    expect(serves).toBe(false)
    expect(await readdir(root)).toEqual([])
    expect(await plan()).toMatchObject({ loops: 0, mirrors: 0, resources: [], kept: [] })
    expect((await engine.container.list({})).map(({ name }) => name)).toEqual(['loopat-foobar-1'])
    expect((await engine.network.list({})).map(({ name }) => name)).toEqual(['loopat-foobar-net'])
    expect((await engine.image.list('localhost/')).flatMap(({ tags }) => tags)).toEqual([
      'localhost/loopat-sandbox-foobar:1',
    ])
  })

  it('should take only the name from an image that another workspace uses', async () => {
    await engine.image.tag(image.name, 'localhost/loopat-sandbox-foobar:same')
    expect(await act()).toContainEqual(gone(image))
    expect(engine.image.find('localhost/loopat-sandbox-foobar:same')).toBeDefined()
  })

  it('should go on after a failure, and leave data alone that a container may still use', async () => {
    engine.faults.fail('container.remove', new EngineError('failed', 'it does not want to'))
    const verdicts = await act()
    expect(verdicts[0]).toEqual({ ...container, removed: false, reason: 'it does not want to' })
    expect(verdicts).toContainEqual(gone(image))
    const reason = 'a container that may use it is left'
    expect(verdicts.slice(-2)).toEqual([data(home), data(runtime)].map((what) => ({ ...what, removed: false, reason })))
    expect(await readdir(home)).toContain('config.toml')
    expect((await act()).every(({ removed }) => removed)).toBe(true)
  })

  it('should not believe a removal that did nothing', async () => {
    const verdicts = await act(async () => undefined)
    expect(verdicts.at(-1)).toEqual({ ...data(runtime), removed: false, reason: 'it is still there' })
  })

  it('should still remove the data without podman', async () => {
    const without = await plan({ missing: 'podman is not installed' })
    expect(without).toMatchObject({ noPodman: 'podman is not installed', resources: [data(home), data(runtime)] })
  })

  it('should leave what it did not make, and say so', async () => {
    await writeFile(join(home, 'diary'), 'mine')
    expect(await plan()).toMatchObject({ kept: [join(home, 'diary')] })
    expect(await act()).toContainEqual({
      ...data(home),
      removed: false,
      reason: `it holds what is not loopat's: ${join(home, 'diary')}`,
    })
    expect((await readdir(home)).sort()).toEqual(['.lock', 'diary'])
  })

  it('should remove vaults and count them, and leave what else their users keep', async () => {
    for (const path of [
      'ada/.loopat/vaults/work/envs',
      'ada/.loopat/vaults/default',
      'bob/.loopat/vaults',
      'bob/memory',
    ]) {
      await mkdir(join(home, 'personal', path), { recursive: true })
    }
    await mkdir(join(root, 'elsewhere', '.loopat', 'vaults', 'x'), { recursive: true })
    await symlink(join(root, 'elsewhere'), join(home, 'personal', 'eve'))
    const kept = ['bob/memory', 'eve'].map((path) => join(home, 'personal', path))
    expect(await plan()).toMatchObject({ vaults: 2, kept })
    expect((await act()).find(({ name }) => name === home)).toMatchObject({ removed: false })
    expect((await readdir(join(home, 'personal'))).sort()).toEqual(['bob', 'eve'])
    expect(await readdir(join(root, 'elsewhere', '.loopat', 'vaults'))).toEqual(['x'])
    await rm(join(home, 'personal', 'eve'))
    await rm(join(home, 'personal', 'bob', 'memory'), { recursive: true })
    expect((await act()).every(({ removed }) => removed)).toBe(true)
    expect((await readdir(root)).sort()).toEqual(['elsewhere'])
  })

  it('should touch nothing in a directory that never was a home', async () => {
    await rm(join(home, '.lock'))
    const { resources, kept, loops } = await plan()
    expect(resources).not.toContainEqual(data(home))
    expect({ kept, loops }).toEqual({ kept: [], loops: 0 })
    await act()
    expect((await readdir(home)).sort()).toEqual(['config.toml', 'log', 'loops', 'mirrors'])
  })
})
