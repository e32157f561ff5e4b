import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { never, until, Workshop, type WorkshopOptions } from '../loop/kit.ts'
import { ManualClock } from './manual-clock.ts'

async function open(maxRunning: number, options: WorkshopOptions = {}) {
  const clock = new ManualClock()
  const shop = await Workshop.open({ ...options, clock, idle: { maxRunning } })
  /** Makes loops that run, each idle a little longer than the next. */
  const running = async (...names: string[]) => {
    for (const name of names) {
      await shop.create({ name })
      clock.advance(1000)
      await turn()
    }
    clock.advance(10_000)
  }
  const states = async () => Object.fromEntries((await shop.list()).map(({ name, state }) => [name, state]))
  return { shop, clock, running, states }
}

const use = (shop: Workshop, loop: string) =>
  shop.service.use(loop, { start: true, owner: 'exec', reason: 'x' }, noProgress, never)

describe('idle.max_running', () => {
  it('should put the loop to sleep first that has been idle for longest, and say why', async () => {
    const { shop, running, states } = await open(3)
    await using _ = shop
    await running('a', 'b', 'c')
    ;(await use(shop, 'a')).release()
    await shop.create({ name: 'd' })
    expect(await states()).toEqual({ a: 'running', b: 'stopped', c: 'running', d: 'running' })
    const sleep = shop.changes.find(({ loop }) => loop.name === 'b' && loop.state === 'stopped')
    expect(sleep?.cause).toEqual({ by: 'limit', text: 'makes room for d: at most 3 may run' })
  })

  it('should never touch a loop that is in use, held, or never sleeps', async () => {
    const { shop, clock, running, states } = await open(3)
    await using _ = shop
    await running('a', 'b', 'c')
    const held = await use(shop, 'a')
    await shop.idle.hold({ loop: 'b', forMs: 60_000, reason: 'x' }, never)
    await shop.idle.set({ loop: 'c', after: 'never' }, never)
    await shop.create({ name: 'd' })
    expect(new Set(Object.values(await states()))).toEqual(new Set(['running']))
    expect(shop.lines.some(({ message }) => message.includes('all are in use'))).toBe(true)
    held.release()
    clock.advance(10_000)
    await until(async () => (await states()).a === 'stopped' || (await states()).d === 'stopped')
    expect(await states()).toMatchObject({ b: 'running', c: 'running' })
  })

  it('should stop the next one when one cannot be stopped', async () => {
    const { shop, running, states } = await open(2)
    await using _ = shop
    await running('a', 'b')
    shop.engine.faults.fail('container.stop', new EngineError('failed', 'it hangs'))
    await shop.create({ name: 'c' })
    expect(await states()).toEqual({ a: 'running', b: 'stopped', c: 'running' })
  })

  it('should hold when many start at once, and let all of them start', async () => {
    const { shop, clock, states } = await open(3, { places: 2 })
    await using _ = shop
    const names = Array.from({ length: 12 }, (_unused, index) => `l${index}`)
    for (const name of names) await shop.create({ name, start: false })
    await Promise.all(names.map((name) => shop.start(name)))
    const count = async () => Object.values(await states()).filter((state) => state === 'running').length
    await until(async () => {
      clock.advance(5000)
      return (await count()) <= 3
    })
    expect(await count()).toBe(3)
    const ran = new Set(shop.changes.flatMap(({ loop }) => (loop.state === 'running' ? [loop.name] : [])))
    expect(ran).toEqual(new Set(names))
  })

  it('should make no room for a loop that runs already and is made anew', async () => {
    const { shop, running, states } = await open(2)
    await using _ = shop
    await running('a', 'b')
    await Promise.all(['a', 'b'].map((loop) => shop.update({ loop, dns: ['10.0.0.1'] })))
    expect(await states()).toEqual({ a: 'running', b: 'running' })
  })
})

describe('many starts at once', () => {
  /** Loops in the order in which their containers were made. */
  const created = async (shop: Workshop) => {
    const names = new Map((await shop.list()).map(({ id, name }) => [id, name]))
    const calls = shop.calls().filter((call) => call.startsWith('container.create '))
    return calls.map((call) => names.get(call.slice('container.create '.length)))
  }

  it('should wait in a queue that progress tells of, persons first', async () => {
    const { shop } = await open(100, { places: 1 })
    await using _ = shop
    for (const name of ['a', 'b', 'c']) await shop.create({ name, start: false })
    const hold = shop.engine.faults.hold('container.create')
    const messages: string[] = []
    const start = (loop: string, interactive: boolean) =>
      shop.service.start({ loop, interactive }, ({ message }) => void messages.push(`${loop}: ${message}`), never)
    const starts = [start('a', false)]
    await hold.reached
    starts.push(start('b', false))
    await until(() => messages.includes('b: Waiting for other starts: number 1 in the queue'))
    starts.push(start('c', true))
    await until(() => messages.includes('b: Waiting for other starts: number 2 in the queue'))
    hold.release()
    await Promise.all(starts)
    expect(await created(shop)).toEqual(['a', 'c', 'b'])
  })

  it('should come sooner when a person joins', async () => {
    const { shop } = await open(100, { places: 1 })
    await using _ = shop
    for (const name of ['a', 'b', 'c']) await shop.create({ name, start: false })
    const hold = shop.engine.faults.hold('container.create')
    const start = (loop: string, interactive = false) => shop.service.start({ loop, interactive }, noProgress, never)
    const starts = [start('a')]
    await hold.reached
    starts.push(start('b'))
    await turn()
    starts.push(start('c'))
    await until(() => shop.changes.filter(({ loop }) => loop.state === 'starting').length === 3)
    for (let turns = 0; turns < 10; turns += 1) await turn()
    starts.push(start('c', true))
    await turn()
    hold.release()
    await Promise.all(starts)
    expect(await created(shop)).toEqual(['a', 'c', 'b'])
  })

  it('should come sooner when a person joins before it is in the queue', async () => {
    const { shop } = await open(100, { places: 1 })
    await using _ = shop
    for (const name of ['a', 'b', 'c']) await shop.create({ name, start: false })
    const start = (loop: string, interactive = false) => shop.service.start({ loop, interactive }, noProgress, never)
    const hold = shop.engine.faults.hold('container.create')
    const starts = [start('a')]
    await hold.reached
    starts.push(start('b'), start('c'), start('c', true))
    await until(() => shop.changes.filter(({ loop }) => loop.state === 'starting').length === 3)
    for (let turns = 0; turns < 10; turns += 1) await turn()
    hold.release()
    await Promise.all(starts)
    expect(await created(shop)).toEqual(['a', 'c', 'b'])
  })
})
