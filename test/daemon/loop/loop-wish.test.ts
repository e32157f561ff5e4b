import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { METHODS } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { never, until, Workshop } from './kit.ts'

let data: string

beforeEach(async () => {
  data = await realpath(await mkdtemp(join(tmpdir(), 'loopat-data-')))
  await mkdir(join(data, 'a'))
  await mkdir(join(data, 'b'))
  await writeFile(join(data, 'file'), 'x')
})
afterEach(() => rm(data, { recursive: true, force: true }))

const specOf = (shop: Workshop, id: string) => shop.engine.container.specOf(`loopat-ws-${id}`)
const bindsOf = (shop: Workshop, id: string) =>
  (specOf(shop, id)?.mounts ?? []).map(
    ({ source, target, readOnly }) => `${source}:${target}:${readOnly ? 'ro' : 'rw'}`,
  )

describe('what is asked of the container of a loop', () => {
  it('should be kept in its metadata and be in force at once', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({
      mounts: [
        { source: `${data}/a/`, target: '~/a', readOnly: false },
        { source: `${data}/file`, target: '/etc/file' },
      ],
      dns: ['192.0.2.1'],
      limits: { memoryBytes: 67_108_864 },
      persistence: 'ephemeral',
      knowledgeRw: true,
      mountAllLoops: true,
    })
    expect(await shop.meta(id)).toMatchObject({
      mounts: [
        { source: `${data}/a`, target: '/home/loopat/a', readOnly: false },
        { source: `${data}/file`, target: '/etc/file', readOnly: true },
      ],
      dns: ['192.0.2.1'],
      limits: { memoryBytes: 67_108_864 },
      persistence: 'ephemeral',
      knowledgeRw: true,
      mountAllLoops: true,
    })
    expect(bindsOf(shop, id)).toEqual(
      expect.arrayContaining([`${data}/a:/home/loopat/a:rw`, `${data}/file:/etc/file:ro`]),
    )
    expect(specOf(shop, id)).toMatchObject({ dns: ['192.0.2.1'], limits: { memoryBytes: 67_108_864 } })
  })

  it('should leave no trace when it is the default', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({
      mounts: [],
      dns: [],
      limits: {},
      persistence: 'persistent',
      knowledgeRw: false,
      mountAllLoops: false,
    })
    const meta = await shop.meta(id)
    for (const key of ['mounts', 'dns', 'limits', 'persistence', 'knowledgeRw', 'mountAllLoops'])
      expect(meta).not.toHaveProperty(key)
  })

  it('should be refused when two mounts want one target, and nothing is made', async () => {
    await using shop = await Workshop.open()
    const mounts = [
      { source: `${data}/a`, target: '/home/loopat/x' },
      { source: `${data}/b`, target: '~//x/' },
    ]
    await expect(shop.create({ mounts })).rejects.toMatchObject({
      code: 'mount_refused',
      message: expect.stringContaining('two mounts want /home/loopat/x'),
    })
    expect(await shop.names('loops')).toEqual([])
    expect(shop.calls()).toEqual([])
  })

  it('should be refused when the host cannot enforce a limit, and nothing is made', async () => {
    await using shop = await Workshop.open()
    await expect(shop.create({ limits: { cpus: 0.5 }, start: false })).rejects.toMatchObject({
      code: 'limit_unsupported',
      message: expect.stringContaining('cpu'),
    })
    expect(await shop.names('loops')).toEqual([])
  })

  it('should show all other loops their workdirs, as they are when the container is made', async () => {
    await using shop = await Workshop.open()
    const one = await shop.create({ start: false })
    const all = await shop.create({ mountAllLoops: true })
    const view = (id: string) => `${shop.store.paths(id).workdir}:/loopat/loops/${id}/workdir:ro`
    expect(bindsOf(shop, all.id)).toContain(view(one.id))
    expect(bindsOf(shop, all.id).filter((bind) => bind.includes('/loopat/loops/'))).toHaveLength(1)
    // Another one comes: no reason to make the container anew.
    const two = await shop.create({ start: false })
    await shop.stop(all.id)
    expect(await shop.start(all.id)).toMatchObject({ action: 'started' })
    expect(bindsOf(shop, all.id)).not.toContain(view(two.id))
  })

  it('should be mounted with the personal files of its user', async () => {
    await using shop = await Workshop.open()
    const personal = join(shop.home, 'personal', 'ada')
    await mkdir(join(personal, '.loopat', 'vaults', 'default', 'envs'), { recursive: true })
    await writeFile(join(personal, '.loopat', 'vaults', 'default', 'envs', 'TOKEN'), 'secret')
    const without = await shop.create()
    expect(bindsOf(shop, without.id).join()).not.toContain('/loopat/context')
    await writeFile(join(personal, 'note'), 'mine')
    const { id } = await shop.create()
    const copy = join(shop.store.paths(id).directory, 'context', 'personal')
    expect(bindsOf(shop, id)).toContain(`${copy}:/loopat/context/personal:rw`)
    expect(await readFile(join(copy, 'note'), 'utf8')).toBe('mine')
    await expect(readFile(join(copy, '.loopat', 'vaults', 'default', 'envs', 'TOKEN'))).rejects.toThrow()
  })
})

describe('a change of what a container is made of', () => {
  it.each<[string, object, string]>([
    ['a mount', { mounts: [{ source: 'DATA/a', target: '/m', readOnly: true }] }, 'the mount /m was added'],
    ['a vault', { vault: 'work' }, 'the vault changed from default to work'],
    ['name servers', { dns: ['::1'] }, 'the name servers changed from the usual to ::1'],
    ['limits', { limits: { pids: 20 } }, 'the limit of processes changed from none to 20'],
    ['its user', { user: 'bob' }, 'the user changed from the usual to bob'],
    ['knowledge', { knowledgeRw: true }, 'the knowledge is writable now'],
    ['the sight of all loops', { mountAllLoops: true }, 'the other loops are mounted now'],
  ])('should make it anew once, and say why: %s', async (_what, change, reason) => {
    await using shop = await Workshop.open()
    await mkdir(join(shop.home, 'personal', 'ada', '.loopat', 'vaults', 'work'), { recursive: true })
    const { id } = await shop.create()
    const wish: object = JSON.parse(JSON.stringify(change).replace('DATA', data))
    await shop.store.update(id, (meta) => ({ ...meta, ...wish }))
    expect((await shop.get(id)).recreation).toEqual({ due: reason, last: null })
    const before = specOf(shop, id)
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason })
    expect(specOf(shop, id)).not.toBe(before)
    expect(await shop.start(id)).toMatchObject({ action: 'none', reason: null })
    await shop.stop(id)
    expect(await shop.start(id)).toMatchObject({ action: 'started', reason: null })
    expect((await shop.get(id)).recreation).toEqual({ due: null, last: { at: expect.any(String), reason } })
    expect(await shop.meta(id)).toMatchObject({ recreated: { reason } })
  })

  it.each<[string, object]>([
    ['variables', { env: { A: '1' } }],
    ['the vault `default` by name', { vault: 'default' }],
    ['its title', { title: 'Another' }],
    ['opaque metadata', { metadata: { a: 1 } }],
    ['persistence', { persistence: 'persistent' }],
  ])('should not be seen in %s', async (_what, change) => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = specOf(shop, id)
    await shop.store.update(id, (meta) => ({ ...meta, ...change }))
    expect(await shop.start(id)).toMatchObject({ action: 'none' })
    await shop.stop(id)
    expect(await shop.start(id)).toMatchObject({ action: 'started' })
    expect(specOf(shop, id)).toBe(before)
  })

  it('should leave a mount out whose source went, and bring it back with its source', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ mounts: [{ source: `${data}/a`, target: '/m' }] })
    await rm(join(data, 'a'), { recursive: true })
    await shop.stop(id)
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason: 'the mount /m was removed' })
    const { skipped } = await shop.service.inspect({ loop: id }, never)
    expect(skipped).toEqual([{ source: `${data}/a`, target: '/m', origin: 'loop', why: `${data}/a does not exist` }])
    await mkdir(join(data, 'a'))
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason: 'the mount /m was added' })
  })

  it('should not happen for a look, nor while a command runs', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const request = { start: true, owner: 'exec', reason: 'sleep' }
    const use = await shop.service.use(id, request, () => undefined, never)
    await shop.store.update(id, (meta) => ({ ...meta, dns: ['::1'] }))
    const other = await shop.service.use(id, request, () => undefined, never)
    expect(specOf(shop, id)?.dns).toEqual([])
    other.release()
    use.release()
    ;(await shop.service.use(id, request, () => undefined, never)).release()
    expect(specOf(shop, id)?.dns).toEqual(['::1'])
  })
})

describe('an ephemeral loop', () => {
  it('should get a fresh container at every start from a stop, which is no change to note', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ persistence: 'ephemeral' })
    const first = specOf(shop, id)
    expect(await shop.start(id)).toMatchObject({ action: 'none' })
    await shop.stop(id)
    await until(async () => (await shop.state(id)) === 'stopped')
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason: 'it is ephemeral' })
    expect(specOf(shop, id)).not.toBe(first)
    expect(await shop.meta(id)).not.toHaveProperty('recreated')
    expect((await shop.get(id)).recreation).toEqual({ due: null, last: null })
  })
})

describe('what the container of a loop is made of', () => {
  it('should be shown with the origin of each mount and variable, and no value', async () => {
    const operator = [
      { source: data, target: '/operator', readOnly: true },
      { source: `${data}/none`, target: '/gone', readOnly: true },
    ]
    await using shop = await Workshop.open({
      mounts: { operator, userHome: data },
    })
    const vault = join(shop.home, 'personal', 'ada', '.loopat', 'vaults', 'default')
    await mkdir(join(vault, 'envs'), { recursive: true })
    await mkdir(join(vault, 'mounts', 'home', '.ssh'), { recursive: true })
    await writeFile(join(vault, 'envs', 'TOKEN'), 'very secret')
    await writeFile(join(vault, 'envs', 'SHARED'), 'very secret')
    const { id, name } = await shop.create({ mounts: [{ source: '~/a', target: '/loop' }], limits: { pids: 20 } })
    await shop.store.update(id, (meta) => ({ ...meta, env: { SHARED: 'plain and long', OWN: 'plain and long' } }))
    const shown = await shop.service.inspect({ loop: name }, never)
    expect(shown).toMatchObject({
      id,
      name,
      user: 'ada',
      vault: 'default',
      persistence: 'persistent',
      limits: { pids: 20 },
      network: `loopat-ws-${id.slice(0, 8)}`,
      drift: null,
      skipped: [{ target: '/gone', origin: 'operator' }],
    })
    const origins = Object.fromEntries(shown.mounts.map(({ target, origin, row }) => [target, `${row} ${origin}`]))
    expect(origins).toEqual({
      '/home/loopat': '1 built-in',
      [`/loopat/loop/${id}/workdir`]: '2 built-in',
      '/loopat/run': '3 built-in',
      '/loopat/control': '4 built-in',
      '/operator': '12 operator',
      '/loop': '12 loop',
      '/home/loopat/.ssh': '13 vault',
    })
    expect(shown.env).toEqual([
      { name: 'HOME', origin: 'built-in' },
      { name: 'LOOPAT_LOOP_ID', origin: 'built-in' },
      { name: 'LOOPAT_LOOP_NAME', origin: 'built-in' },
      { name: 'OWN', origin: 'loop' },
      { name: 'SHARED', origin: 'loop' },
      { name: 'TOKEN', origin: 'vault' },
    ])
    expect(shown.hash.used).toBe(shown.hash.wanted)
    expect(shown.hash.inputs).toMatchObject({ limits: { pids: 20 } })
    expect(JSON.stringify(shown)).not.toMatch(/very secret|plain and long/)
    expect(JSON.stringify(specOf(shop, id))).not.toMatch(/very secret|plain and long/)
    expect(METHODS['loop/inspect'].result.parse(shown)).toEqual(shown)
  })

  it('should say what drifted', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.store.update(id, (meta) => ({ ...meta, dns: ['::1'] }))
    const { drift, hash } = await shop.service.inspect({ loop: id }, never)
    expect(drift).toBe('the name servers changed from the usual to ::1')
    expect(hash.used).not.toBe(hash.wanted)
  })

  it('should be known of a loop that has no container yet', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    expect(await shop.service.inspect({ loop: id }, never)).toMatchObject({
      image: { wanted: null, used: null },
      hash: { used: null },
      drift: null,
    })
  })

  it('should not hide a vault that is gone, and leave the loop to be shown', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.store.update(id, (meta) => ({ ...meta, vault: 'gone' }))
    await expect(shop.service.inspect({ loop: id }, never)).rejects.toMatchObject({ code: 'vault_not_found' })
    expect((await shop.get(id)).recreation.due).toBeNull()
    const before = specOf(shop, id)
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'vault_not_found' })
    expect(specOf(shop, id)).toBe(before)
    expect(await shop.state(id)).toBe('running')
  })
})
