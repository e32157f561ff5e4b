import { describe, expect, it } from 'vitest'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { never, until, WORKSPACE, Workshop } from './kit.ts'

const use = (shop: Workshop, loop: string, start = true) =>
  shop.service.use(loop, { start, owner: 'exec', reason: 'make test' }, noProgress, never)

describe('using a loop', () => {
  it('should start a stopped one and keep it awake', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create({ start: false })
    const held = await use(shop, name)
    expect(held).toMatchObject({
      loopId: id,
      name,
      container: `loopat-${WORKSPACE}-${id}`,
      workdir: `/loopat/loop/${id}/workdir`,
      env: { HOME: '/home/loopat', LOOPAT_LOOP_ID: id, LOOPAT_LOOP_NAME: name },
    })
    expect((await shop.get(id)).leases).toMatchObject([{ owner: 'exec', reason: 'make test' }])
    held.release()
    held.release()
    expect((await shop.get(id)).leases).toEqual([])
    expect(await shop.state(id)).toBe('running')
  })

  it('should cost no call for a running one', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.get(id)
    shop.calls()
    const uses = await Promise.all([use(shop, id), use(shop, id), use(shop, id, false)])
    expect(shop.calls()).toEqual([])
    for (const held of uses) held.release()
  })

  it('should deliver the environment of the metadata', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.store.update(id, (meta) => ({ ...meta, env: { EDITOR: 'vi' } }))
    using held = await use(shop, id)
    expect(held.env).toMatchObject({ EDITOR: 'vi', LOOPAT_LOOP_ID: id })
    expect(await shop.start(id)).toMatchObject({ action: 'none' })
  })

  it('should not start a stopped one when it must not', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create({ start: false })
    await expect(use(shop, id, false)).rejects.toMatchObject({
      code: 'loop_not_running',
      next: `Run: loopctl start ${name}`,
    })
    expect(shop.leases.list()).toEqual([])
    expect(await shop.state(id)).toBe('created')
  })

  it('should keep a container that others use although its image changed', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = (await shop.get(id)).container.id
    const first = await use(shop, id)
    shop.images.rebuild()
    const second = await use(shop, id)
    expect((await shop.get(id)).container.id).toBe(before)
    first.release()
    second.release()
    const third = await use(shop, id)
    expect((await shop.get(id)).container.id).not.toBe(before)
    third.release()
  })

  it('should show the progress of a start that somebody else asked for', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.create')
    const starting = shop.start(id)
    await hold.reached
    const messages: string[] = []
    const request = { start: true, owner: 'exec', reason: 'x' }
    const using = shop.service.use(id, request, ({ message }) => void messages.push(message), never)
    await until(() => messages.length > 0)
    hold.release()
    await starting
    ;(await using).release()
    expect(messages).toContain('Starting the container')
  })

  it('should make one start of many uses at once', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const uses = await Promise.all(Array.from({ length: 20 }, () => use(shop, id)))
    expect(shop.leases.list(id)).toHaveLength(20)
    expect(shop.calls().filter((call) => call.startsWith('container.create'))).toHaveLength(1)
    for (const held of uses) held.release()
  })

  it('should never lose a loop between its start and its lease', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const work = Array.from({ length: 10 }, async () => {
      const asked: { held?: Disposable } = {}
      const end = () => asked.held?.[Symbol.dispose]()
      const using = shop.service.use(id, { start: true, owner: 'exec', reason: 'x', end }, noProgress, never)
      const [held] = await Promise.all([using.then((use) => (asked.held = use)), shop.stop(id)])
      held[Symbol.dispose]()
    })
    await Promise.all(work)
    using held = await use(shop, id)
    expect(held.loopId).toBe(id)
    expect(await shop.state(id)).toBe('running')
  })

  it('should give up on a loop that stops again each time', async () => {
    await using shop = await Workshop.open({
      onChange: ({ loop: { id, state } }) => {
        if (state === 'running') void shop.engine.container.die(`loopat-${WORKSPACE}-${id}`, 1)
      },
    })
    const { id } = await shop.create({ start: false })
    await expect(use(shop, id)).rejects.toMatchObject({ code: 'start_failed' })
    expect(shop.calls().filter((call) => call.startsWith('container.start')).length).toBeGreaterThan(1)
    expect(shop.leases.list()).toEqual([])
  })
})
