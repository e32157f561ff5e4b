import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError, type Progress } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { ownerLabels } from '../../../daemon/loop/loop-spec.ts'
import { faultyFiles, IMAGE, never, until, WORKSPACE, Workshop } from './kit.ts'

const containerOf = (id: string) => `loopat-${WORKSPACE}-${id}`

async function withContainer(shop: Workshop, name: string, labels: Record<string, string>): Promise<void> {
  await shop.engine.container.create({
    name,
    image: IMAGE,
    hostname: 'x',
    labels,
    command: ['sleep', '1000'],
    workdir: '/',
    env: {},
    mounts: [],
    keepId: { uid: 2000, gid: 2000 },
    init: true,
    network: { kind: 'none' },
    dns: [],
    limits: {},
    stopTimeoutSeconds: 5,
  })
}

describe('starting a loop', () => {
  it('should do nothing for a running one, and ask the engine nothing', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create()
    await shop.service.list({ archived: 'exclude' }, never)
    shop.calls()
    expect(await shop.start(id)).toMatchObject({ action: 'none', reason: null, loop: { state: 'running' } })
    expect(await shop.start(name)).toMatchObject({ action: 'none' })
    expect(await shop.start(id.slice(0, 8))).toMatchObject({ action: 'none' })
    expect(shop.calls()).toEqual([])
  })

  it('should make one container for twenty starts at once, and show its progress to all', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const told: Progress[][] = Array.from({ length: 20 }, () => [])
    const results = await Promise.all(told.map((progress) => shop.start(id, progress)))
    expect(new Set(results.map(({ loop }) => loop.state))).toEqual(new Set(['running']))
    expect(shop.calls().filter((call) => /container\.(?:create|start)/.test(call))).toEqual([
      `container.create ${id}`,
      `container.start ${id}`,
    ])
    for (const progress of told) expect(progress.map(({ message }) => message)).toContain('Starting the container')
  })

  it('should go on for the others when the first caller goes away', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.create')
    const first = new AbortController()
    const abandoned = shop.start(id, [], first.signal)
    await hold.reached
    const patient = shop.start(id)
    await Promise.resolve()
    first.abort(new Error('gone'))
    await expect(abandoned).rejects.toThrow('gone')
    hold.release()
    expect(await patient).toMatchObject({ loop: { state: 'running' } })
  })

  it('should be cancelled when nobody waits for it any more, and work the next time', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.create')
    const caller = new AbortController()
    const abandoned = shop.start(id, [], caller.signal)
    await hold.reached
    caller.abort(new Error('gone'))
    await expect(abandoned).rejects.toThrow('gone')
    hold.release()
    await until(async () => (await shop.state(id)) === 'created')
    expect(await shop.start(id)).toMatchObject({ loop: { state: 'running', reason: null } })
  })

  it('should let reads pass while it lasts', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.create')
    const starting = shop.start(id)
    await hold.reached
    expect(await shop.list()).toMatchObject([{ id, state: 'starting' }])
    expect(await shop.state(id)).toBe('starting')
    hold.release()
    await starting
  })

  it('should start a stopped container as it is', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = (await shop.get(id)).container.id
    await shop.stop(id)
    shop.calls()
    expect(await shop.start(id)).toMatchObject({ action: 'started', reason: null, loop: { state: 'running' } })
    expect((await shop.get(id)).container.id).toBe(before)
    expect(shop.calls()).not.toContain(`container.create ${id}`)
  })

  it('should make a container anew when the image changed, running or stopped', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.images.rebuild()
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason: 'its image changed' })
    await shop.stop(id)
    const imageId = shop.images.rebuild()
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason: 'its image changed' })
    const [container] = await shop.engine.container.list({ 'loopat.loop-id': id })
    expect(container?.labels['loopat.base-image-id']).toBe(imageId)
    expect(await shop.engine.container.list({})).toHaveLength(1)
  })

  it('should ask users to let go before it makes a running container anew', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    let ended = 0
    const use = await shop.service.use(
      id,
      {
        start: true,
        owner: 'exec',
        reason: 'x',
        end: () => {
          ended += 1
          use.release()
        },
      },
      noProgress,
      never,
    )
    shop.images.rebuild()
    expect(await shop.start(id)).toMatchObject({ action: 'recreated' })
    expect(ended).toBe(1)
  })

  it('should make a container anew when its specification changed', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await using next = await shop.reopen()
    expect(await next.start(id)).toMatchObject({ action: 'none' })
    const labels = (await next.engine.container.list({ 'loopat.loop-id': id }))[0]?.labels ?? {}
    await next.engine.container.remove(containerOf(id))
    await withContainer(next, containerOf(id), { ...labels, 'loopat.config-hash': '0123456789abcdef' })
    await until(async () => (await next.state(id)) === 'stopped')
    expect(await next.start(id)).toMatchObject({ action: 'recreated', reason: 'its specification changed' })
  })

  it.each(['network_stale', 'mount_missing', 'port_taken', 'runtime_stale'] as const)(
    'should repair a start once that fails with %s',
    async (kind) => {
      await using shop = await Workshop.open()
      const { id } = await shop.create()
      await shop.stop(id)
      shop.engine.faults.fail('container.start', new EngineError(kind, 'as planned'))
      const progress: Progress[] = []
      const { action, reason, loop } = await shop.start(id, progress)
      expect({ action, state: loop.state }).toEqual({ action: 'recreated', state: 'running' })
      expect(reason).toBe('its start failed: as planned')
      expect(progress.map(({ message }) => message)).toContain('The start failed; making the container anew')
      expect(await shop.engine.container.list({})).toHaveLength(1)
    },
  )

  it('should not repair twice', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.stop(id)
    shop.engine.faults.fail('container.start', new EngineError('port_taken', 'port 80 is taken'), { times: 2 })
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'start_failed' })
    const { loop } = await shop.get(id)
    expect(loop).toMatchObject({ state: 'stopped' })
    expect(loop.reason).toContain('port 80 is taken')
    expect(await shop.start(id)).toMatchObject({ loop: { state: 'running', reason: null } })
  })

  it('should repair a creation whose network vanished in between', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    shop.engine.faults.fail('container.create', new EngineError('network_stale', 'no network'))
    expect(await shop.start(id)).toMatchObject({ action: 'created', reason: 'its start failed: no network' })
  })

  it('should refuse to take the name of a foreign container', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create({ start: false })
    await withContainer(shop, containerOf(id), {})
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'name_taken', details: { container: containerOf(id) } })
    expect(await shop.engine.container.inspect(containerOf(id))).toMatchObject({ labels: {} })
    expect((await shop.get(name)).container.id).toBeNull()
  })

  it('should replace a container of ours that nobody knew of', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    shop.engine.faults.fail('container.create', new EngineError('name_taken', 'in use'), { afterwards: true })
    expect(await shop.start(id)).toMatchObject({ action: 'created', loop: { state: 'running' } })
    expect(await shop.engine.container.list({})).toHaveLength(1)
  })

  it.each([
    ['after', true],
    ['before', false],
  ])('should try again when the engine goes away %s it made the container', async (_when, afterwards) => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    shop.engine.faults.fail('container.create', new EngineError('connection_lost', 'broke'), { afterwards })
    expect(await shop.start(id)).toMatchObject({ action: 'created', loop: { state: 'running' } })
    expect(await shop.engine.container.list({})).toHaveLength(1)
  })

  it('should take up a container whose creation was answered by nobody, twice', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const broke = new EngineError('connection_lost', 'broke')
    shop.engine.faults.fail('container.create', broke, { afterwards: true, times: 2 })
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'connection_lost' })
    expect(await shop.start(id)).toMatchObject({ action: 'started', loop: { state: 'running' } })
    expect(await shop.engine.container.list({})).toHaveLength(1)
  })

  it('should say so when the container does not stay up', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.start')
    const starting = shop.start(id)
    await hold.reached
    const stopWatching = shop.engine.watch(ownerLabels(WORKSPACE, id), (message) => {
      if ('action' in message && message.action === 'start') void shop.engine.container.die(containerOf(id), 127)
    })
    hold.release()
    await expect(starting).rejects.toMatchObject({ code: 'start_failed' })
    await expect(starting).rejects.toThrow('exit code 127')
    stopWatching()
  })

  it.each([
    ['workdir', (shop: Workshop, id: string) => shop.store.paths(id).workdir],
    ['mirror', (shop: Workshop) => shop.repos.mirrorPath('demo')],
  ] as const)('should never make up a missing %s', async (_what, pathOf) => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ repo: { source: 'https://example.com/x' }, start: false })
    const path = pathOf(shop, id)
    await rm(path, { recursive: true })
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'start_failed', details: { path } })
    expect(await shop.engine.container.list({})).toEqual([])
    await mkdir(path)
    expect(await shop.start(id)).toMatchObject({ loop: { state: 'running' } })
  })

  it('should make the control directory again when it vanished', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.stop(id)
    await rm(join(shop.home, 'runtime'), { recursive: true })
    expect(await shop.start(id)).toMatchObject({ action: 'started', loop: { state: 'running' } })
    expect(await shop.names('runtime', 'control')).toEqual([id])
  })

  it('should write nothing into a home that a sandbox may have filled with links', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    expect(await shop.names('loops', id, 'home-upper')).toEqual(['.claude', '.local'])
    await rm(join(shop.store.paths(id).home, '.local'), { recursive: true })
    await shop.stop(id)
    await shop.start(id)
    expect(await shop.names('loops', id, 'home-upper')).toEqual(['.claude'])
  })

  it('should fail with engine_unavailable while the engine is down, and work when it is back', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.stop(id)
    shop.engine.disconnect()
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'engine_unavailable', next: expect.any(String) })
    shop.engine.reconnect()
    expect(await shop.start(id)).toMatchObject({ action: 'started' })
  })

  it('should note the first start on disk, and run although that fails', async () => {
    const disk = { full: false }
    const { files } = faultyFiles(disk)
    await using shop = await Workshop.open({ files })
    const { id } = await shop.create({ start: false })
    expect(await shop.meta(id)).not.toHaveProperty('firstStartedAt')
    await shop.store.prepareMounts(id)
    disk.full = true
    expect(await shop.start(id)).toMatchObject({ loop: { state: 'running' } })
    expect(shop.store.storage.writable).toBe(false)
    disk.full = false
    await shop.stop(id)
    await shop.start(id)
    expect(await shop.meta(id)).toHaveProperty('firstStartedAt')
  })

  it('should restart, also what does not run', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const restart = () => shop.service.restart({ loop: id }, noProgress, never)
    shop.calls()
    expect(await restart()).toMatchObject({ action: 'started', loop: { state: 'running' } })
    expect(shop.calls().filter((call) => /container\.(?:stop|start)/.test(call))).toHaveLength(2)
    await shop.stop(id)
    expect(await restart()).toMatchObject({ action: 'started' })
  })

  it('should pass on what the image room says', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    shop.images.failure = new LoopatError('image_build_failed', 'step 3 failed')
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'image_build_failed' })
    expect((await shop.get(id)).loop).toMatchObject({ state: 'created', reason: 'step 3 failed' })
  })
})
