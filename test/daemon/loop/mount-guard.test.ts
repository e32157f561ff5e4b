import { mkdir, mkdtemp, readFile, realpath, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MountGuard } from '../../../daemon/loop/mount-guard.ts'
import { CANARY, HOSTILE_MOUNTS, type HostileHost, listenAt, makeHostileHost } from '../../fixture/hostile-mount.ts'
import { Workshop } from './kit.ts'

const HARMLESS = '/mnt/data'

let root: string
let host: HostileHost
let shop: Workshop

describe('hostile mounts', () => {
  beforeAll(async () => {
    root = await realpath(await mkdtemp(join(tmpdir(), 'loopat-hostile-')))
    const home = join(root, 'ws')
    host = await makeHostileHost(root, home)
    const operator = HOSTILE_MOUNTS.map(({ source, target = HARMLESS }) => ({
      source: source(host),
      target,
      readOnly: false,
    }))
    shop = await Workshop.open({ home, mounts: { operator, userHome: host.userHome, guard: host.guard } })
  })

  afterAll(async () => {
    await shop?.leave()
    await shop?.engine[Symbol.asyncDispose]()
    await rm(root, { recursive: true, force: true })
  })

  it('should be more than fifty', () => {
    expect(HOSTILE_MOUNTS.length).toBeGreaterThan(50)
    expect(new Set(HOSTILE_MOUNTS.map(({ what }) => what)).size).toBe(HOSTILE_MOUNTS.length)
  })

  it.each(HOSTILE_MOUNTS)('should be refused at creation: $what', async ({ source, target = HARMLESS }) => {
    const before = await shop.names('loops')
    const mounts = [{ source: source(host), target, readOnly: true }]
    await expect(shop.create({ mounts })).rejects.toMatchObject({ code: 'mount_refused' })
    expect(await shop.names('loops')).toEqual(before)
    expect(await shop.engine.container.list({})).toEqual([])
  })

  it('should be left out when metadata or configuration ask for them, and none reaches its aim', async () => {
    const loop = await shop.create({ start: false })
    const mounts = HOSTILE_MOUNTS.map(({ source, target = HARMLESS }) => ({
      source: source(host),
      target,
      readOnly: false,
    })).filter(({ source, target }) => source !== '' && target !== '')
    await shop.store.update(loop.id, (meta) => ({ ...meta, mounts: mounts.slice(0, 64) }))
    await shop.start(loop.id)
    const spec = shop.engine.container.specOf(`loopat-ws-${loop.id}`)
    expect(spec?.mounts.map(({ target }) => target)).toEqual([
      '/home/loopat',
      '/loopat/run',
      '/loopat/control',
      `/loopat/loop/${loop.id}/workdir`,
    ])
    const own = shop.store.paths(loop.id).directory
    for (const { source } of spec?.mounts ?? []) {
      expect(source.startsWith(own) || source.startsWith(join(host.home, 'runtime'))).toBe(true)
    }
    const warnings = shop.lines.filter(({ message }) => message === 'a mount is left out')
    expect(warnings).toHaveLength(64 + HOSTILE_MOUNTS.length)
    const { skipped } = await shop.service.inspect({ loop: loop.id }, new AbortController().signal)
    expect(skipped).toHaveLength(64 + HOSTILE_MOUNTS.length)
    expect(await readFile(join(host.home, 'config.toml'), 'utf8')).toBe(CANARY)
  })

  it('should take what is harmless beside all that', async () => {
    const sockets = await listenAt(join(host.xdg, 'wayland-0'))
    try {
      await mkdir(join(host.userHome, 'work'))
      for (const source of [
        join(root, 'fine'),
        join(root, 'links', 'middle', 'fine'),
        join(host.xdg, 'wayland-0'),
        join(host.userHome, 'work'),
        '~/work',
        '/dev/null',
      ]) {
        const loop = await shop.create({ mounts: [{ source, target: HARMLESS }], start: false })
        expect(loop.state).toBe('created')
      }
    } finally {
      await new Promise((resolve) => sockets.close(resolve))
    }
  })

  it('should be refused when a source turns into one after the loop was made', async () => {
    const source = join(root, 'turncoat')
    await mkdir(source)
    const loop = await shop.create({ mounts: [{ source, target: HARMLESS, readOnly: false }] })
    const targets = () => shop.engine.container.specOf(`loopat-ws-${loop.id}`)?.mounts.map(({ target }) => target)
    expect(targets()).toContain(HARMLESS)
    await rm(source, { recursive: true })
    await symlink(host.home, source)
    await shop.stop(loop.id)
    const { action, reason } = await shop.start(loop.id)
    expect({ action, reason }).toEqual({ action: 'recreated', reason: `the mount ${HARMLESS} was removed` })
    expect(targets()).not.toContain(HARMLESS)
  })
})

describe('the guard of mounts', () => {
  it('should recognise other mounts of the same files', async () => {
    const table = [
      '1 0 8:1 / / rw - ext4 d rw',
      '2 1 8:1 /secret/home /mnt/alias rw - ext4 d rw',
      '3 1 8:1 /secret/home/loops /mnt/holder/part rw - ext4 d rw',
      '4 1 8:1 / /mnt/everything rw - ext4 d rw',
      '5 1 8:9 /secret/home /mnt/other-disk rw - ext4 e rw',
    ].join('\n')
    const guard = new MountGuard([{ path: '/secret/home', what: 'the home', scope: 'tree' }], async () => table)
    const refused = async (path: string) => (await guard.check(path)) !== undefined
    expect(await refused('/mnt/alias')).toBe(true)
    expect(await refused('/mnt/alias/log')).toBe(true)
    expect(await refused('/mnt/holder')).toBe(true)
    expect(await refused('/mnt/holder/part/x')).toBe(true)
    expect(await refused('/mnt/everything')).toBe(true)
    expect(await refused('/mnt/everything/secret')).toBe(true)
    expect(await refused('/mnt/everything/public')).toBe(false)
    expect(await refused('/mnt/other-disk')).toBe(false)
    expect(await refused('/secretive')).toBe(false)
    expect(await refused('/secret')).toBe(true)
  })

  it('should protect a place that is a link, and one that does not exist yet', async () => {
    const base = await realpath(await mkdtemp(join(tmpdir(), 'loopat-guard-')))
    try {
      await mkdir(join(base, 'real'))
      await symlink('real', join(base, 'link'))
      const places = [
        { path: join(base, 'link'), what: 'a link', scope: 'tree' as const },
        { path: join(base, 'link', 'later', 'x'), what: 'a later place', scope: 'tree' as const },
      ]
      const guard = new MountGuard(places)
      expect(await guard.check(join(base, 'real'))).toContain('a link')
      await expect(stat(join(base, 'real', 'later'))).rejects.toThrow()
      expect(await new MountGuard(places.slice(1)).check(join(base, 'real', 'later'))).toContain('a later place')
    } finally {
      await rm(base, { recursive: true })
    }
  })

  it('should let a part of a place through that is protected as a whole', async () => {
    const guard = new MountGuard([{ path: '/dev', what: 'the devices', scope: 'itself' }])
    expect(await guard.check('/dev')).toBe('it is the devices (/dev)')
    expect(await guard.check('/')).toBe('it holds the devices (/dev)')
    expect(await guard.check('/dev/null')).toBeUndefined()
  })
})
