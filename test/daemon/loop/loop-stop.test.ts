import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { never, until, Workshop } from './kit.ts'

const use = (shop: Workshop, id: string, end: () => void) =>
  shop.service.use(id, { start: true, owner: 'exec', reason: 'x', end }, noProgress, never)

describe('stopping a loop', () => {
  it('should stop the container and keep it', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    expect(await shop.stop(id)).toMatchObject({ state: 'stopped', reason: null, startedAt: null, address: null })
    expect((await shop.get(id)).container.id).not.toBeNull()
    expect(shop.changes.map(({ loop }) => loop.state).slice(-2)).toEqual(['stopping', 'stopped'])
  })

  it('should do nothing to a loop that does not run', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    expect(await shop.stop(id)).toMatchObject({ state: 'created' })
    await shop.start(id)
    await shop.stop(id)
    shop.calls()
    expect(await shop.stop(id)).toMatchObject({ state: 'stopped' })
    expect(shop.calls()).toEqual([])
  })

  it('should ask the users of the loop to let go first', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const order: string[] = []
    const held = await use(shop, id, () => {
      order.push('asked')
      order.push(...shop.calls().filter((call) => call.startsWith('container.stop')))
      held.release()
    })
    shop.calls()
    await shop.stop(id)
    order.push(...shop.calls().filter((call) => call.startsWith('container.stop')))
    expect(order[0]).toBe('asked')
    expect(order).toHaveLength(2)
    expect(shop.leases.list()).toEqual([])
  })

  it.each(['failed', 'wrong_state'] as const)('should remove a container that does not stop (%s)', async (kind) => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.engine.faults.fail('container.stop', new EngineError(kind, 'did not die within timeout'))
    expect(await shop.stop(id)).toMatchObject({ state: 'stopped' })
    expect(await shop.engine.container.list({})).toEqual([])
    expect(await shop.start(id)).toMatchObject({ action: 'created' })
  })

  it('should fail while the engine is down, and keep what it knew', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.engine.disconnect()
    await expect(shop.stop(id)).rejects.toMatchObject({ code: 'engine_unavailable' })
    expect((await shop.get(id)).loop).toMatchObject({
      state: 'running',
      reason: 'podman does not answer; this is the last known state',
    })
    shop.engine.reconnect()
    await until(async () => (await shop.get(id)).loop.reason === null)
    expect(await shop.stop(id)).toMatchObject({ state: 'stopped' })
  })

  it('should tell the truth after a stop whose answer was lost', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const lost = new EngineError('connection_lost', 'broke')
    shop.engine.faults.fail('container.stop', lost, { afterwards: true })
    await expect(shop.stop(id)).rejects.toMatchObject({ code: 'connection_lost' })
    await until(async () => (await shop.state(id)) === 'stopped')
  })

  it('should never interleave with a start', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const work = Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? shop.stop(id) : shop.start(id)))
    await Promise.all(work)
    expect(await shop.engine.container.list({})).toHaveLength(1)
    const states = shop.changes.map(({ loop }) => loop.state)
    for (const [index, state] of states.entries()) {
      if (state === 'stopping') expect(states[index + 1]).toBe('stopped')
      if (state === 'starting') expect(states[index + 1]).toBe('running')
    }
  })

  it('should stop all running loops', async () => {
    await using shop = await Workshop.open()
    const loops = await Promise.all([shop.create(), shop.create(), shop.create({ start: false })])
    await shop.service.stopAll(5, never)
    expect((await shop.list()).map(({ state }) => state).sort()).toEqual(['created', 'stopped', 'stopped'])
    expect(loops).toHaveLength(3)
  })

  it('should go on stopping the others when one cannot be stopped', async () => {
    await using shop = await Workshop.open()
    await Promise.all([shop.create(), shop.create()])
    shop.engine.faults.fail('container.stop', new EngineError('connection_lost', 'broke'))
    await shop.service.stopAll(5, never)
    expect((await shop.list()).map(({ state }) => state).sort()).toEqual(['running', 'stopped'])
    expect(shop.lines.map(({ message }) => message)).toContain('a loop cannot be stopped')
  })
})

describe('a container that ends by itself', () => {
  it('should be told, and started again by the next use', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const { container } = await shop.get(id)
    await shop.engine.container.die(container.name, 137)
    await until(() => shop.changes.at(-1)?.loop.state === 'stopped')
    expect(await shop.state(id)).toBe('stopped')
    const held = await use(shop, id, () => undefined)
    expect(await shop.state(id)).toBe('running')
    held.release()
  })

  it('should be told also when somebody removed or started it by hand', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const { container } = await shop.get(id)
    await shop.engine.container.stop(container.name, 1)
    await until(() => shop.changes.at(-1)?.loop.state === 'stopped')
    await shop.engine.container.start(container.name)
    await until(() => shop.changes.at(-1)?.loop.state === 'running')
    await shop.engine.container.remove(container.name)
    await until(() => shop.changes.at(-1)?.loop.state === 'stopped')
    expect(await shop.start(id)).toMatchObject({ action: 'created' })
  })

  it('should be noticed after the connection was lost meanwhile', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const { container } = await shop.get(id)
    shop.engine.disconnect()
    await shop.engine.container.die(container.name, 1)
    shop.engine.reconnect()
    await until(() => shop.changes.at(-1)?.loop.state === 'stopped')
    expect(await shop.state(id)).toBe('stopped')
  })
})
