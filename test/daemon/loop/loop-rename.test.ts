import { describe, expect, it } from 'vitest'
import { checked, faultyFiles, never, Workshop } from './kit.ts'

const rename = async (shop: Workshop, loop: string, change: { name?: string; title?: string }) =>
  (await shop.service.rename(checked('loop/rename', { loop, ...change }), never)).loop

describe('renaming a loop', () => {
  it('should change name, title or both, and not touch the container', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ title: 'One' })
    shop.calls()
    expect(await rename(shop, 'one', { name: 'two' })).toMatchObject({ id, name: 'two', title: 'One' })
    expect(await rename(shop, 'two', { title: 'Three' })).toMatchObject({ name: 'two', title: 'Three' })
    expect(await rename(shop, 'two', { name: 'four', title: 'Four' })).toMatchObject({ name: 'four', title: 'Four' })
    await expect(shop.get('two')).rejects.toMatchObject({ code: 'loop_not_found' })
    expect(await shop.start('four')).toMatchObject({ action: 'none' })
    expect(shop.calls()).toEqual([])
    expect(shop.changes.at(-1)).toMatchObject({ loop: { name: 'four' }, removed: false })
  })

  it('should allow the name that it has, and free the one that it had', async () => {
    await using shop = await Workshop.open()
    await shop.create({ name: 'one', start: false })
    await shop.create({ name: 'two', start: false })
    expect(await rename(shop, 'one', { name: 'one' })).toMatchObject({ name: 'one' })
    await expect(rename(shop, 'one', { name: 'two' })).rejects.toMatchObject({ code: 'name_taken' })
    await rename(shop, 'two', { name: 'three' })
    expect(await rename(shop, 'one', { name: 'two' })).toMatchObject({ name: 'two' })
  })

  it('should let one of two have a name that both want', async () => {
    await using shop = await Workshop.open()
    await shop.create({ name: 'one', start: false })
    await shop.create({ name: 'two', start: false })
    const both = await Promise.allSettled([rename(shop, 'one', { name: 'x' }), rename(shop, 'two', { name: 'x' })])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  it('should change nothing on a full disk', async () => {
    const disk = { full: false }
    await using shop = await Workshop.open(faultyFiles(disk))
    await shop.create({ name: 'one', start: false })
    disk.full = true
    await expect(rename(shop, 'one', { name: 'two' })).rejects.toMatchObject({ code: 'storage_failed' })
    expect(await shop.list()).toMatchObject([{ name: 'one' }])
    disk.full = false
    expect(await rename(shop, 'one', { name: 'two' })).toMatchObject({ name: 'two' })
  })
})
