import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { faultyFiles, never, Workshop } from './kit.ts'

const archive = async (shop: Workshop, loop: string) => (await shop.service.archive({ loop }, never)).loop
const unarchive = async (shop: Workshop, loop: string) => (await shop.service.unarchive({ loop }, never)).loop

describe('archiving a loop', () => {
  it('should stop it and keep everything', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create()
    const archived = await archive(shop, id)
    expect(archived).toMatchObject({ state: 'archived', archivedAt: expect.any(String), startedAt: null })
    expect(await archive(shop, id)).toEqual(archived)
    expect((await shop.list('exclude')).map((loop) => loop.name)).toEqual([])
    expect((await shop.list('only')).map((loop) => loop.name)).toEqual([name])
    const [container] = await shop.engine.container.list({})
    expect(container?.status).toBe('exited')
  })

  it('should keep it from being started or used, and say what to do', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create()
    await archive(shop, id)
    const refusal = { code: 'loop_archived', next: `Run: loopctl unarchive ${name}` }
    await expect(shop.start(id)).rejects.toMatchObject(refusal)
    await expect(shop.service.restart({ loop: id }, noProgress, never)).rejects.toMatchObject(refusal)
    for (const start of [true, false]) {
      const use = shop.service.use(id, { start, owner: 'exec', reason: 'x' }, noProgress, never)
      await expect(use).rejects.toMatchObject(refusal)
    }
    expect(shop.leases.list()).toEqual([])
  })

  it('should be undone without loss', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await archive(shop, id)
    expect(await unarchive(shop, id)).toMatchObject({ state: 'stopped', archivedAt: null })
    expect(await unarchive(shop, id)).toMatchObject({ state: 'stopped' })
    expect(await shop.start(id)).toMatchObject({ action: 'started' })
  })

  it('should work for a loop that never ran', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    expect(await archive(shop, id)).toMatchObject({ state: 'archived' })
    expect(await unarchive(shop, id)).toMatchObject({ state: 'created' })
  })

  it('should change nothing when the container cannot be stopped', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.engine.faults.fail('container.stop', new EngineError('connection_lost', 'broke'))
    await expect(archive(shop, id)).rejects.toMatchObject({ code: 'connection_lost' })
    expect(await shop.meta(id)).not.toHaveProperty('archivedAt')
    expect(await shop.state(id)).toBe('running')
  })

  it('should fail on a full disk, and leave the loop usable', async () => {
    const disk = { full: false }
    await using shop = await Workshop.open(faultyFiles(disk))
    const { id } = await shop.create()
    disk.full = true
    await expect(archive(shop, id)).rejects.toMatchObject({ code: 'storage_failed' })
    expect(await shop.start(id)).toMatchObject({ loop: { state: 'running' } })
    disk.full = false
    expect(await archive(shop, id)).toMatchObject({ state: 'archived' })
  })
})
