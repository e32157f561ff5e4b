import { expect, it } from 'vitest'
import { type GetSubject, Workshop } from './subject.ts'

/** What every engine promises about networks. */
export function networkContract(subject: GetSubject): void {
  it('should make sure of a network as often as it is asked', async () => {
    await using shop = new Workshop(subject())
    const { network } = shop.engine
    const name = shop.networkName()
    const spec = { name, labels: shop.labels, resolves: true }
    await Promise.all([network.ensure(spec), network.ensure(spec)])
    await network.ensure(spec)
    expect(await network.list(shop.labels)).toEqual([{ name, labels: shop.labels }])
    await network.remove(name)
    await network.remove(name)
    expect(await network.list(shop.labels)).toEqual([])
  })

  it('should not take a foreign network for its own', async () => {
    await using shop = new Workshop(subject())
    const name = shop.networkName()
    const spec = { name, labels: {}, resolves: true }
    await shop.engine.network.ensure(spec)
    await expect(shop.engine.network.ensure({ ...spec, labels: shop.labels })).rejects.toMatchObject({
      kind: 'name_taken',
    })
  })

  it('should not remove a network that a container uses', async () => {
    await using shop = new Workshop(subject())
    const name = shop.networkName()
    await shop.engine.network.ensure({ name, labels: shop.labels, resolves: false })
    const container = await shop.running({ network: { kind: 'named', name, aliases: ['somebody'] } })
    expect((await shop.engine.container.inspect(container))?.address).toMatch(/^\d+\.\d+\.\d+\.\d+$/)
    await expect(shop.engine.network.remove(name)).rejects.toMatchObject({ kind: 'in_use' })
    await shop.engine.container.remove(container)
    await shop.engine.network.remove(name)
  })
}
