import { randomUUID } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { ownerLabels } from '../../../daemon/loop/loop-spec.ts'
import { hastyClock, IMAGE, UNKNOWN_ID, until, WORKSPACE, Workshop } from './kit.ts'

const reconciled = (shop: Workshop) => until(() => shop.engine.faults.calls.includes('image.cleanUp'))

describe('the start of the daemon', () => {
  it('should take up running loops as they are', async () => {
    await using shop = await Workshop.open()
    const running = await shop.create()
    const stopped = await shop.create()
    await shop.stop(stopped.id)
    const before = (await shop.get(running.id)).container.id
    await using next = await shop.reopen()
    expect((await next.list()).map(({ state }) => state).sort()).toEqual(['running', 'stopped'])
    expect(await next.start(running.id)).toMatchObject({ action: 'none', loop: { startedAt: running.startedAt } })
    expect((await next.get(running.id)).container.id).toBe(before)
    expect(next.calls().filter((call) => /container\.(?:create|start|stop|remove)/.test(call))).toEqual([])
    expect(next.changes).toEqual([])
  })

  it('should remove containers and networks whose loop is gone, and no others', async () => {
    await using shop = await Workshop.open()
    const gone = await shop.create()
    const kept = await shop.create()
    const torn = await shop.create()
    await shop.leave()
    await rm(join(shop.home, 'loops', gone.id), { recursive: true })
    await writeFile(shop.store.paths(torn.id).meta, 'torn')
    shop.engine.network.add('foreign', { 'loopat.workspace': 'other', 'loopat.loop-id': randomUUID() })
    shop.engine.network.add('shared', { 'loopat.workspace': WORKSPACE })
    const orphan = randomUUID()
    shop.engine.network.add('orphan', ownerLabels(WORKSPACE, orphan))
    await using next = await shop.reopen()
    const loops = (await next.engine.container.list({})).map(({ labels }) => labels['loopat.loop-id'])
    expect(loops.sort()).toEqual([kept.id, torn.id].sort())
    const networks = (await next.engine.network.list({})).map(({ name }) => name)
    expect(networks.sort()).toEqual(
      ['foreign', 'shared', ...[kept, torn].map(({ id }) => `loopat-ws-${id.slice(0, 8)}`)].sort(),
    )
    expect(next.lines.map(({ message }) => message)).toContain('removing a container whose loop is gone')
  })

  it('should leave containers alone when the home is new: its disk may not be mounted', async () => {
    await using shop = await Workshop.open()
    const loop = await shop.create()
    await shop.leave()
    await rm(join(shop.home, 'loops', loop.id), { recursive: true })
    await using next = await shop.reopen({ homeIsNew: true, isDown: true })
    await until(() => next.lines.some(({ message }) => message.includes('is the right disk mounted')))
    expect(await next.engine.container.list({})).toHaveLength(1)
  })

  it('should remove half-made loops', async () => {
    await using shop = await Workshop.open()
    await shop.leave()
    const half = randomUUID()
    await mkdir(join(shop.home, 'loops', half, 'workdir'), { recursive: true })
    await writeFile(join(shop.home, 'loops', half, '.creating'), '')
    await using next = await shop.reopen()
    expect(await next.list()).toEqual([])
    await until(async () => (await next.names('loops')).length === 0)
  })

  it('should wait for an engine that is down, and catch up when it comes', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const gone = await shop.create()
    await shop.leave()
    await rm(join(shop.home, 'loops', gone.id), { recursive: true })
    shop.engine.disconnect()
    await using next = await shop.reopen({ isDown: true, clock: hastyClock })
    await expect(next.start(id)).rejects.toMatchObject({ code: 'engine_unavailable' })
    next.calls()
    next.engine.reconnect()
    await reconciled(next)
    expect(await next.state(id)).toBe('running')
    expect(await next.engine.container.list({})).toHaveLength(1)
  })

  it('should try again after the next connection when it was interrupted', async () => {
    await using shop = await Workshop.open()
    const gone = await shop.create()
    await shop.leave()
    await rm(join(shop.home, 'loops', gone.id), { recursive: true })
    shop.engine.faults.fail('container.remove', new EngineError('connection_lost', 'broke'))
    await using next = await shop.reopen({ isDown: true })
    await until(() => next.lines.some(({ message }) => message === 'could not clean up after the start'))
    expect(await next.engine.container.list({})).toHaveLength(1)
    next.engine.disconnect()
    next.engine.reconnect()
    await reconciled(next)
    expect(await next.engine.container.list({})).toEqual([])
  })

  it('should leave a network alone that is still used', async () => {
    await using shop = await Workshop.open()
    await shop.leave()
    shop.engine.network.add('orphan', ownerLabels(WORKSPACE, randomUUID()))
    shop.engine.faults.fail('network.remove', new EngineError('in_use', 'used'))
    await using next = await shop.reopen()
    expect(await next.engine.network.list({})).toHaveLength(1)
  })

  it('should keep the name of a layer that a container runs from, and let go of all others', async () => {
    const shop = await Workshop.open()
    try {
      const [used, spent] = [(await shop.create()).id, (await shop.create()).id]
      const tag = (id: string) => `localhost/loopat-layer-${WORKSPACE}:${id}`
      await shop.update({ loop: used, dns: ['10.0.0.1'] })
      // As when the daemon ends after the start of the new container, or before.
      await shop.engine.image.tag(tag(used), `${tag(used)}-next`)
      await shop.engine.image.untag(tag(used))
      await shop.engine.image.tag(IMAGE, tag(UNKNOWN_ID))
      shop.engine.image.add(`${tag(spent)}-next`)
      await using next = await shop.reopen()
      const names = async () => (await next.engine.image.list('localhost/loopat-layer-')).flatMap(({ tags }) => tags)
      const layers = async () => (await names()).filter((name) => name.startsWith('localhost/loopat-layer-'))
      await until(async () => (await layers()).join() === tag(used))
    } finally {
      await shop[Symbol.asyncDispose]()
    }
  })
})
