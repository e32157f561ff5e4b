import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopInfo } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { checked, never, UNKNOWN_ID, Workshop } from './kit.ts'

describe('reading loops', () => {
  it('should show what the contract says', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ repo: { source: 'https://example.com/x' } })
    await mkdir(join(shop.home, 'loops', UNKNOWN_ID))
    const loops = await shop.list()
    for (const loop of loops) expect(LoopInfo.parse(loop)).toEqual(loop)
    const { container, paths, metadata } = await shop.get(id)
    expect(container).toEqual({ name: `loopat-ws-${id}`, id: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(paths).toEqual({
      directory: join(shop.home, 'loops', id),
      workdir: join(shop.home, 'loops', id, 'workdir'),
      home: join(shop.home, 'loops', id, 'home-upper'),
    })
    expect(metadata).toBeNull()
  })

  it('should not show keys that the contract does not know', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ repo: { source: 'https://example.com/x' }, start: false })
    await shop.store.update(id, (meta) => ({
      ...meta,
      ...(meta.repo === undefined ? {} : { repo: { ...meta.repo, later: 1 } }),
    }))
    const { loop } = await shop.get(id)
    expect(LoopInfo.parse(loop)).toEqual(loop)
  })

  it('should ask the engine nothing while its events are alive', async () => {
    await using shop = await Workshop.open()
    const loops = await Promise.all([shop.create(), shop.create(), shop.create({ start: false })])
    await shop.list()
    shop.calls()
    expect(await shop.list()).toHaveLength(loops.length)
    await shop.get(loops[0].id)
    expect(shop.calls()).toEqual([])
  })

  it('should list broken loops with their reason, and count them', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await mkdir(join(shop.home, 'loops', UNKNOWN_ID))
    await writeFile(join(shop.home, 'loops', UNKNOWN_ID, 'meta.json'), 'torn')
    expect(await shop.list('exclude')).toMatchObject([
      { id, state: 'running' },
      { id: UNKNOWN_ID, name: UNKNOWN_ID, state: 'broken', reason: 'meta.json is not JSON', createdAt: null },
    ])
    expect(await shop.list('only')).toEqual([])
    expect(await shop.get(UNKNOWN_ID.slice(0, 6))).toMatchObject({ loop: { state: 'broken' } })
    expect(await shop.service.counts()).toEqual({ total: 2, running: 1, archived: 0, broken: 1 })
  })

  it('should start a loop that was mended by hand', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.stop(id)
    const path = shop.store.paths(id).meta
    const text = await readFile(path, 'utf8')
    await writeFile(path, 'torn')
    await using next = await shop.reopen()
    expect(await next.state(id)).toBe('broken')
    await writeFile(path, text)
    expect(await next.start(id)).toMatchObject({ action: 'started' })
    expect(await next.stop(id)).toMatchObject({ state: 'stopped' })
  })

  it('should do nothing to a broken loop', async () => {
    await using shop = await Workshop.open()
    const path = join(shop.home, 'loops', UNKNOWN_ID, 'meta.json')
    await mkdir(join(shop.home, 'loops', UNKNOWN_ID))
    await writeFile(path, 'torn')
    const { service } = shop
    const loop = UNKNOWN_ID
    const refused = await Promise.allSettled([
      shop.start(loop),
      shop.stop(loop),
      service.restart({ loop }, noProgress, never),
      service.archive({ loop }, never),
      service.unarchive({ loop }, never),
      service.rename(checked('loop/rename', { loop, name: 'x' }), never),
      service.use(loop, { start: true, owner: 'exec', reason: 'x' }, noProgress, never),
    ])
    for (const outcome of refused) {
      expect(outcome).toMatchObject({ reason: { code: 'loop_broken', next: expect.stringContaining(path) } })
    }
  })

  it('should tell the last known state while the engine is down', async () => {
    await using shop = await Workshop.open()
    await shop.create({ name: 'up' })
    await shop.create({ name: 'new', start: false })
    shop.engine.disconnect()
    const reason = 'podman does not answer; this is the last known state'
    const byName = new Map((await shop.list()).map((loop) => [loop.name, loop]))
    expect(byName.get('up')).toMatchObject({ state: 'running', reason })
    expect(byName.get('new')).toMatchObject({ state: 'created', reason: null })
    shop.engine.reconnect()
    expect((await shop.get('up')).loop).toMatchObject({ state: 'running', reason: null })
  })
})
