import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { IMAGE, never, UNKNOWN_ID, until, WORKSPACE, Workshop } from './kit.ts'

const containerOf = (id: string) => `loopat-${WORKSPACE}-${id}`
const DNS = ['10.0.0.1']

async function idOf(shop: Workshop, name: string): Promise<string | undefined> {
  return (await shop.engine.container.inspect(name))?.id
}

/** Names of all containers that there are. */
async function containers(shop: Workshop): Promise<string[]> {
  return (await shop.engine.container.list({})).map(({ name }) => name).sort()
}

describe('updating a loop', () => {
  it('should make a running container anew, keep its layer, and say what it did', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await idOf(shop, containerOf(id))
    expect(await shop.plan({ loop: id, dns: DNS })).toEqual({
      changes: [{ what: 'dns', from: null, to: '10.0.0.1', effect: 'recreate' }],
      due: null,
      users: [],
    })
    shop.calls()
    expect(await shop.update({ loop: id, dns: DNS })).toMatchObject({ action: 'recreated', loop: { state: 'running' } })
    expect(shop.calls()).toContain(`container.commit ${before}`)
    expect(await idOf(shop, containerOf(id))).not.toBe(before)
    expect(await containers(shop)).toEqual([containerOf(id)])
    expect(shop.engine.container.specOf(containerOf(id))).toMatchObject({ dns: DNS })
    expect((await shop.engine.image.list('localhost/loopat-layer-')).flatMap(({ tags }) => tags)).toEqual([
      `localhost/loopat-layer-${WORKSPACE}:${id}`,
    ])
    expect(await shop.meta(id)).toMatchObject({
      dns: DNS,
      recreated: { reason: expect.stringContaining('name servers') },
    })
    expect(await shop.meta(id)).not.toHaveProperty('update')
    await shop.remove({ loop: id })
    expect(await shop.engine.image.list('localhost/loopat-layer-')).toEqual([])
  })

  it('should do nothing when nothing differs', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await shop.meta(id)
    expect(await shop.update({ loop: id, vault: 'default', dns: [] })).toMatchObject({ action: 'none', changes: [] })
    expect(await shop.meta(id)).toEqual(before)
  })

  it('should take variables at once, and other changes of a stopped loop at its next start', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await idOf(shop, containerOf(id))
    expect(await shop.update({ loop: id, env: { A: '1' } })).toMatchObject({
      action: 'noted',
      changes: [{ effect: 'live' }],
    })
    await shop.stop(id)
    expect(await shop.update({ loop: id, dns: DNS })).toMatchObject({
      action: 'noted',
      changes: [{ effect: 'next-start' }],
    })
    expect(await idOf(shop, containerOf(id))).toBe(before)
    expect(await shop.start(id)).toMatchObject({ action: 'recreated', reason: expect.stringContaining('name servers') })
    expect(await shop.meta(id)).toMatchObject({ env: { A: '1' } })
    expect(await shop.meta(id)).not.toHaveProperty('update')
  })

  it('should drop the layer for a fresh container', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.calls()
    expect(await shop.update({ loop: id, fresh: true })).toMatchObject({ action: 'recreated', changes: [] })
    expect(shop.calls().filter((call) => call.startsWith('container.commit'))).toEqual([])
    expect(shop.engine.container.specOf(containerOf(id))).toMatchObject({ image: IMAGE })
    expect(await shop.meta(id)).toMatchObject({ recreated: { reason: 'a fresh container was asked for' } })
  })

  it('should begin from a changed image', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.calls()
    expect(await shop.update({ loop: id, image: 'localhost/other:1' })).toMatchObject({ action: 'recreated' })
    expect(shop.calls().filter((call) => call.startsWith('container.commit'))).toEqual([])
    expect(shop.engine.container.specOf(containerOf(id))).toMatchObject({ image: 'localhost/other:1' })
  })

  it('should name who uses the loop, unless they are to end or to be waited for', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await idOf(shop, containerOf(id))
    const lease = shop.leases.acquire(id, { owner: 'exec', reason: 'make test', end: () => lease.release() })
    await expect(shop.update({ loop: id, dns: DNS })).rejects.toMatchObject({
      code: 'loop_in_use',
      message: expect.stringContaining('exec "make test"'),
    })
    expect(await shop.meta(id)).not.toHaveProperty('dns')
    expect(await shop.update({ loop: id, dns: DNS, whenIdle: true })).toMatchObject({ action: 'deferred' })
    expect(await idOf(shop, containerOf(id))).toBe(before)
    lease.release()
    expect(await shop.start(id)).toMatchObject({ action: 'recreated' })
    const other = shop.leases.acquire(id, { owner: 'exec', reason: 'make', end: () => other.release() })
    expect(await shop.update({ loop: id, dns: [], force: true })).toMatchObject({ action: 'recreated' })
  })

  it('should keep variables that were set while it was looked at', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    await shop.service.setEnv({ loop: id, env: { A: '1', OLD: 'x' } }, never)
    const ensure = shop.images.ensureNamed.bind(shop.images)
    shop.images.ensureNamed = async (...args) => {
      await shop.service.setEnv({ loop: id, env: { A: '2', B: '2', C: '2' } }, never)
      await shop.service.unsetEnv({ loop: id, names: ['OLD'] }, never)
      shop.images.ensureNamed = ensure
      return await ensure(...args)
    }
    await shop.update({ loop: id, image: 'localhost/other:1', env: { C: '3', D: '3' } })
    expect(await shop.meta(id)).toMatchObject({ image: 'localhost/other:1' })
    expect((await shop.meta(id)).env).toEqual({ A: '2', B: '2', C: '3', D: '3' })
  })

  it('should go on when what it leaves behind cannot be removed, and remove it the next time', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.engine.faults.fail('container.remove', new EngineError('failed', 'busy'))
    expect(await shop.update({ loop: id, dns: DNS })).toMatchObject({ action: 'recreated' })
    expect(await containers(shop)).toEqual([containerOf(id), `${containerOf(id)}-old`])
    const second = await idOf(shop, containerOf(id))
    shop.calls()
    expect(await shop.update({ loop: id, dns: [] })).toMatchObject({ action: 'recreated' })
    expect(shop.calls()).toContain(`container.commit ${second}`)
    expect(await containers(shop)).toEqual([containerOf(id)])
    expect(await shop.meta(id)).not.toHaveProperty('dns')
  })

  it('should end it although the last who waited for it leaves when it is done but for that', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const caller = new AbortController()
    const hold = shop.engine.faults.hold('container.remove')
    const updating = shop.update({ loop: id, dns: DNS }, caller.signal)
    await hold.reached
    caller.abort(new Error('gone'))
    hold.release()
    expect(await updating).toMatchObject({ action: 'recreated' })
    expect(await containers(shop)).toEqual([containerOf(id)])
  })

  it('should know after a restart which container was proven, also when neither runs', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.engine.faults.fail('container.remove', new EngineError('failed', 'busy'))
    await shop.update({ loop: id, dns: DNS })
    const second = await idOf(shop, containerOf(id))
    await shop.stop(id)
    await using next = await shop.reopen()
    await until(async () => (await containers(next)).length === 1)
    expect(await idOf(next, containerOf(id))).toBe(second)
    expect(await next.meta(id)).toMatchObject({ dns: DNS })
  })

  it('should wait for a stop that goes on, and keep what was changed in the container', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await idOf(shop, containerOf(id))
    shop.engine.container.beginStop(containerOf(id))
    await until(async () => (await shop.state(id)) === 'stopping')
    shop.calls()
    expect(await shop.start(id)).toMatchObject({ action: 'recreated' })
    expect(shop.calls()).toContain(`container.commit ${before}`)
  })

  it('should bring the old container back, running, when the new one does not start', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await idOf(shop, containerOf(id))
    shop.engine.faults.fail('container.start', new EngineError('failed', 'crun: no'), { times: 1 })
    await expect(shop.update({ loop: id, dns: DNS })).rejects.toMatchObject({
      code: 'start_failed',
      message: expect.stringContaining('was taken back'),
    })
    expect(await idOf(shop, containerOf(id))).toBe(before)
    await until(async () => (await shop.state(id)) === 'running')
    expect(await containers(shop)).toEqual([containerOf(id)])
    expect(await shop.engine.image.list('localhost/loopat-layer-')).toEqual([])
    const meta = await shop.meta(id)
    expect(meta).not.toHaveProperty('dns')
    expect(meta).not.toHaveProperty('update')
    expect(await shop.start(id)).toMatchObject({ action: 'none' })
  })

  it('should take a change of a stopped loop back when its next start fails', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await idOf(shop, containerOf(id))
    await shop.stop(id)
    await shop.update({ loop: id, dns: DNS })
    shop.engine.faults.fail('container.create', new EngineError('failed', 'no'))
    await expect(shop.start(id)).rejects.toMatchObject({ message: expect.stringContaining('was taken back') })
    expect(await idOf(shop, containerOf(id))).toBe(before)
    expect(await shop.start(id)).toMatchObject({ action: 'started' })
    expect(await shop.meta(id)).not.toHaveProperty('dns')
  })

  it('should change nothing when the image cannot be had, or a mount is refused', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const before = await shop.meta(id)
    const mount = { source: '/does/not/exist', target: '/data' }
    await expect(shop.update({ loop: id, mounts: [mount] })).rejects.toMatchObject({ code: 'mount_refused' })
    await expect(shop.update({ loop: id, removeMounts: ['/data'] })).rejects.toMatchObject({ code: 'mount_refused' })
    await expect(shop.update({ loop: id, vault: 'missing' })).rejects.toMatchObject({ code: 'vault_not_found' })
    shop.images.failure = new EngineError('image_unavailable', 'nowhere')
    await expect(shop.update({ loop: id, image: 'localhost/none:1' })).rejects.toThrow('nowhere')
    expect(await shop.meta(id)).toEqual(before)
    expect(await shop.state(id)).toBe('running')
  })

  it('should go back to the sandbox image also when nobody has looked for that yet', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ image: 'localhost/other:1' })
    expect(shop.images.known()).toBeUndefined()
    expect(await shop.update({ loop: id, image: null })).toMatchObject({ action: 'recreated' })
    expect(shop.engine.container.specOf(containerOf(id))).toMatchObject({ image: IMAGE })
  })

  it('should give a loop whose vault is gone another one, and change nothing else of it before', async () => {
    await using shop = await Workshop.open()
    const personal = shop.vaults
    await personal.create('ada', 'short')
    const { id } = await shop.create({ vault: 'short' })
    const before = await idOf(shop, containerOf(id))
    await personal.remove('ada', 'short')
    await expect(shop.plan({ loop: id })).rejects.toMatchObject({ code: 'vault_not_found' })
    await expect(shop.update({ loop: id, dns: DNS })).rejects.toMatchObject({ code: 'vault_not_found' })
    await expect(shop.start(id)).rejects.toMatchObject({ code: 'vault_not_found' })
    expect(await idOf(shop, containerOf(id))).toBe(before)
    expect(await shop.state(id)).toBe('running')
    expect(await shop.plan({ loop: id, vault: 'default' })).toMatchObject({
      changes: [{ what: 'vault', from: 'short', to: 'default', effect: 'recreate' }],
      due: null,
    })
    expect(await shop.update({ loop: id, vault: 'default' })).toMatchObject({ action: 'recreated' })
    expect(await shop.meta(id)).not.toHaveProperty('vault')
  })

  it('should refuse what is archived or cannot be read, and take a change of what never ran', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    expect(await shop.plan({ loop: id, dns: DNS })).toMatchObject({ changes: [{ effect: 'next-start' }] })
    expect(await shop.update({ loop: id, dns: DNS, fresh: true })).toMatchObject({ action: 'noted' })
    expect(await containers(shop)).toEqual([])
    expect(await shop.start(id)).toMatchObject({ action: 'created' })
    expect(shop.engine.container.specOf(containerOf(id))).toMatchObject({ dns: DNS })
    expect(await shop.meta(id)).not.toHaveProperty('update')
    await shop.service.archive({ loop: id }, never)
    const archived = await shop.meta(id)
    await expect(shop.plan({ loop: id })).rejects.toMatchObject({ code: 'loop_archived' })
    await expect(shop.update({ loop: id, env: { A: '1' } })).rejects.toMatchObject({ code: 'loop_archived' })
    expect(await shop.meta(id)).toEqual(archived)
    await mkdir(join(shop.home, 'loops', UNKNOWN_ID))
    await expect(shop.plan({ loop: UNKNOWN_ID })).rejects.toMatchObject({ code: 'loop_broken' })
    await expect(shop.update({ loop: UNKNOWN_ID, dns: DNS })).rejects.toMatchObject({ code: 'loop_broken' })
  })

  it('should take its turn after a start, and changes one after the other', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.start')
    const starting = shop.start(id)
    await hold.reached
    const updating = [shop.update({ loop: id, dns: DNS }), shop.update({ loop: id, knowledgeRw: true })]
    hold.release()
    const [first, second] = await Promise.all(updating)
    expect(await starting).toMatchObject({ action: 'created' })
    expect([first?.action, second?.action]).toEqual(['recreated', 'recreated'])
    expect(await shop.meta(id)).toMatchObject({ dns: DNS, knowledgeRw: true })
    expect(await shop.meta(id)).not.toHaveProperty('update')
    expect(await containers(shop)).toEqual([containerOf(id)])
    expect(await shop.start(id)).toMatchObject({ action: 'none' })
  })

  it.each([
    ['renamed', (shop: Workshop, id: string) => shop.service.rename({ loop: id, name: 'other' }, never), 'running'],
    ['stopped', (shop: Workshop, id: string) => shop.stop(id), 'stopped'],
    ['archived', (shop: Workshop, id: string) => shop.service.archive({ loop: id }, never), 'archived'],
  ] as const)('should be over before the loop is %s', async (_what, then, state) => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const hold = shop.engine.faults.hold('container.commit')
    const updating = shop.update({ loop: id, dns: DNS })
    await hold.reached
    const after = then(shop, id)
    hold.release()
    expect(await updating).toMatchObject({ action: 'recreated' })
    await after
    expect(await shop.state(id)).toBe(state)
    expect(await shop.meta(id)).toMatchObject({ dns: DNS })
    expect(await containers(shop)).toEqual([containerOf(id)])
  })

  it('should be over before the loop is removed, of which nothing is left', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    const hold = shop.engine.faults.hold('container.commit')
    const updating = shop.update({ loop: id, dns: DNS })
    await hold.reached
    const removing = shop.remove({ loop: id, force: true })
    hold.release()
    await updating
    expect(await removing).toMatchObject({ removed: true })
    expect(await containers(shop)).toEqual([])
    expect(await shop.engine.image.list('localhost/loopat-layer-')).toEqual([])
  })

  it.each([
    'container.stop',
    'container.rename',
    'container.commit',
    'container.create',
    'container.start',
    'container.remove',
    'image.tag',
  ] as const)('should end in the old or the new container when the daemon dies at %s', async (operation) => {
    const shop = await Workshop.open()
    try {
      const { id } = await shop.create()
      const before = await idOf(shop, containerOf(id))
      const abort = new AbortController()
      const hold = shop.engine.faults.hold(operation)
      const updating = shop.update({ loop: id, dns: DNS }, abort.signal).catch((error: unknown) => error)
      await hold.reached
      // The engine is out of reach from here on, so that nothing can be taken back: as when the daemon is killed.
      shop.engine.disconnect()
      abort.abort(new Error('killed'))
      hold.release()
      await updating
      shop.engine.reconnect()
      await using next = await shop.reopen()
      await until(async () => (await next.state(id)) === 'running')
      const now = await idOf(next, containerOf(id))
      const meta = await next.meta(id)
      expect(meta.dns === undefined).toBe(now === before)
      expect(meta).not.toHaveProperty('update')
      expect(await containers(next)).toEqual([containerOf(id)])
      expect(await next.start(id)).toMatchObject({ action: 'none' })
    } finally {
      await shop[Symbol.asyncDispose]()
    }
  })
})
