import { setImmediate as turn } from 'node:timers/promises'
import { LoopatError, MAX_CLIENT_LEASES, MAX_HOLDS } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import type { LeaseClient } from '../../../daemon/idle/idle-loops.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { never, until, WORKSPACE, Workshop, type WorkshopOptions } from '../loop/kit.ts'
import { ManualClock } from './manual-clock.ts'

const MINUTE = 60_000
/** The window of nobody's choice. */
const WINDOW = 30 * MINUTE

/** A workshop whose clock the test moves. */
async function open(options: WorkshopOptions = {}): Promise<{ shop: Workshop; clock: ManualClock }> {
  const clock = new ManualClock()
  return { shop: await Workshop.open({ ...options, clock }), clock }
}

/** Lets time pass, and what follows from it happen as far as it does without waiting. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  clock.advance(ms)
  for (let turns = 0; turns < 20; turns += 1) await turn()
}

/** A connection of a test. */
function connection(id = 'c1'): LeaseClient & { end(): void } {
  const listeners: (() => void)[] = []
  return {
    id,
    onEnd: (listener) => void listeners.push(listener),
    end: () => {
      for (const listener of listeners.splice(0)) listener()
    },
  }
}

const why = (shop: Workshop, loop: string) => shop.idle.why({ loop }, never)
const use = (shop: Workshop, loop: string) =>
  shop.service.use(loop, { start: true, owner: 'exec', reason: 'make test' }, noProgress, never)
const nameOf = (id: string) => `loopat-${WORKSPACE}-${id}`

describe('sleep', () => {
  it('should stop an idle loop after its window, never remove it, and wake it when it is touched', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const container = (await shop.get(id)).container.id
    await pass(clock, WINDOW - 1)
    expect(await shop.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await shop.state(id)) === 'stopped')
    expect((await why(shop, id)).next.action).toBe('asleep')
    using held = await use(shop, id)
    expect(held.loopId).toBe(id)
    expect((await shop.get(id)).container.id).toBe(container)
  })

  it('should tell why each loop slept and woke', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await pass(clock, WINDOW)
    await until(async () => (await shop.state(id)) === 'stopped')
    ;(await use(shop, id)).release()
    await shop.stop(id)
    await shop.start(id)
    await shop.engine.container.die(nameOf(id), 137)
    await until(async () => (await shop.state(id)) === 'stopped')
    const causes = shop.changes.map(({ loop, cause }) => [loop.state, cause?.by, cause?.text])
    expect(causes).toEqual([
      ['created', undefined, undefined],
      ['starting', 'request', 'create'],
      ['running', 'request', 'create'],
      ['stopping', 'idle', 'idle for 30m'],
      ['stopped', 'idle', 'idle for 30m'],
      ['starting', 'use', 'exec: make test'],
      ['running', 'use', 'exec: make test'],
      ['stopping', 'request', 'stop'],
      ['stopped', 'request', 'stop'],
      ['starting', 'request', 'start'],
      ['running', 'request', 'start'],
      ['stopped', 'outside', expect.any(String)],
    ])
  })

  it('should keep a loop awake while it is used, and count from the end of that', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const held = await use(shop, id)
    await pass(clock, 10 * WINDOW)
    expect(await why(shop, id)).toMatchObject({
      leases: [{ owner: 'exec', reason: 'make test', expiresAt: null }],
      next: { action: 'stay-awake', at: null, because: 'there is a lease on it' },
    })
    held.release()
    await pass(clock, WINDOW - 1)
    expect(await shop.state(id)).toBe('running')
    expect(await why(shop, id)).toMatchObject({ next: { action: 'sleep' }, lastActivity: { what: 'exec: make test' } })
    await pass(clock, 1)
    await until(async () => (await shop.state(id)) === 'stopped')
  })

  it('should try again when podman is down as the window ends', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    shop.engine.faults.fail('container.stop', new EngineError('unavailable', 'podman is gone'), { times: 2 })
    await pass(clock, WINDOW)
    await until(async () => (await why(shop, id)).failure !== null)
    expect(await why(shop, id)).toMatchObject({
      failure: { attempts: 1, message: expect.stringContaining('podman'), retryAt: expect.any(String) },
      next: { action: 'sleep' },
    })
    expect(shop.lines.some(({ level, message }) => level === 'warn' && message.includes('again later'))).toBe(true)
    await pass(clock, 5000)
    await until(async () => (await why(shop, id)).failure?.attempts === 2)
    await pass(clock, 10_000)
    await until(async () => (await shop.state(id)) === 'stopped')
  })

  it('should come on time after a start, a change and a build that failed', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    shop.engine.faults.fail('container.create', new EngineError('failed', 'no'))
    await expect(shop.update({ loop: id, dns: ['10.0.0.1'] })).rejects.toMatchObject({ code: 'engine_failed' })
    await until(async () => (await shop.state(id)) === 'running')
    shop.images.failure = new LoopatError('image_build_failed', 'no')
    await expect(shop.create({ name: 'unbuilt' })).rejects.toMatchObject({ code: 'image_build_failed' })
    expect(shop.leases.list()).toEqual([])
    await pass(clock, WINDOW)
    await until(async () => (await shop.state(id)) === 'stopped')
  })

  it('should not come while a loop is being started, however long that takes', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create({ start: false })
    const hold = shop.engine.faults.hold('container.start')
    const starting = shop.start(id)
    await hold.reached
    expect((await why(shop, id)).next).toMatchObject({ action: 'stay-awake', because: 'it is being started' })
    await pass(clock, 10 * WINDOW)
    hold.release()
    await starting
    await pass(clock, WINDOW - 1)
    expect(await shop.state(id)).toBe('running')
  })

  it('should leave a loop alone that is removed as its window ends', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const hold = shop.engine.faults.hold('container.remove')
    const removing = shop.remove({ loop: id })
    await hold.reached
    await pass(clock, WINDOW)
    hold.release()
    await removing
    await pass(clock, 10 * WINDOW)
    expect(await shop.list()).toEqual([])
    expect(shop.lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  it('should notice containers that were stopped, started or removed behind its back', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await shop.engine.container.stop(nameOf(id), 0)
    await until(async () => (await why(shop, id)).next.action === 'asleep')
    await shop.engine.container.start(nameOf(id))
    await until(async () => (await why(shop, id)).next.action === 'sleep')
    await pass(clock, WINDOW)
    await until(async () => (await shop.state(id)) === 'stopped')
    await shop.engine.container.remove(nameOf(id))
    ;(await use(shop, id)).release()
    expect((await why(shop, id)).next.action).toBe('sleep')
  })
})

describe('idle/set', () => {
  it('should be in force at once, and after a restart', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await pass(clock, 10 * MINUTE)
    const set = await shop.idle.set({ loop: id, after: 11 * MINUTE }, never)
    expect(set).toEqual({ after: { window: 11 * MINUTE, from: 'loop' } })
    await using next = await shop.reopen({ clock })
    expect((await why(next, id)).after).toEqual({ window: 11 * MINUTE, from: 'loop' })
    await pass(clock, MINUTE - 1)
    expect(await next.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await next.state(id)) === 'stopped')
  })

  it('should never put a loop to sleep that is set so, and go back to the default', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await shop.idle.set({ loop: id, after: 'never' }, never)
    await pass(clock, 100 * WINDOW)
    expect(await shop.state(id)).toBe('running')
    expect((await why(shop, id)).next).toEqual({
      action: 'stay-awake',
      at: null,
      because: 'it is set never to sleep',
    })
    expect(await shop.idle.set({ loop: id, after: null }, never)).toEqual({
      after: { window: WINDOW, from: 'default' },
    })
    await pass(clock, 0)
    await until(async () => (await shop.state(id)) === 'stopped')
  })

  it('should come after the environment, and before the configuration (A-4)', async () => {
    const { shop } = await open({ idle: { windows: { environment: 7000, config: 'never' } } })
    await using _ = shop
    const { id } = await shop.create({ start: false })
    expect((await shop.idle.set({ loop: id, after: 5000 }, never)).after).toEqual({ window: 7000, from: 'environment' })
    await using next = await shop.reopen({ idle: { windows: { environment: undefined, config: 'never' } } })
    expect((await why(next, id)).after).toEqual({ window: 5000, from: 'loop' })
    expect((await next.idle.set({ loop: id, after: null }, never)).after).toEqual({ window: 'never', from: 'config' })
  })
})

describe('idle/hold', () => {
  it('should keep a loop awake for its time, over restarts, whatever the wall clock does', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const { hold } = await shop.idle.hold({ loop: id, forMs: 2 * WINDOW, reason: 'a long test' }, never)
    expect(hold).toMatchObject({ owner: 'hold', reason: 'a long test' })
    expect(Date.parse(hold.expiresAt ?? '')).toBe(clock.now().getTime() + 2 * WINDOW)
    await pass(clock, WINDOW)
    await using next = await shop.reopen({ clock })
    clock.jump(100 * WINDOW)
    await pass(clock, WINDOW - 1)
    expect((await why(next, id)).leases).toMatchObject([{ id: hold.id, since: hold.since }])
    await pass(clock, 1)
    expect((await why(next, id)).leases).toEqual([])
    await pass(clock, WINDOW - 1)
    expect(await next.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await next.state(id)) === 'stopped')
    await using last = await next.reopen({ clock })
    expect((await why(last, id)).leases).toEqual([])
  })

  it('should neither start a loop nor keep anybody from stopping or changing it', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create({ start: false })
    await shop.idle.hold({ loop: id, forMs: WINDOW, reason: 'x' }, never)
    expect(await shop.state(id)).toBe('created')
    await shop.start(id)
    expect((await shop.plan({ loop: id, dns: ['10.0.0.1'] })).users).toEqual([])
    expect(await shop.update({ loop: id, dns: ['10.0.0.1'] })).toMatchObject({ action: 'recreated' })
    await shop.stop(id)
    expect(await shop.state(id)).toBe('stopped')
    expect(clock.now()).toEqual(new ManualClock().now())
  })

  it('should end when it is released, one or all', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const client = connection()
    const hold = async () => (await shop.idle.hold({ loop: id, forMs: 9 * WINDOW, reason: 'x' }, never)).hold.id
    const [first] = [await hold(), await hold(), await hold()]
    expect(await shop.idle.release({ loop: id, lease: first }, client, never)).toEqual({ released: 1 })
    expect(await shop.idle.release({ loop: id }, client, never)).toEqual({ released: 2 })
    await expect(shop.idle.release({ loop: id }, client, never)).rejects.toMatchObject({ code: 'lease_not_found' })
    await using next = await shop.reopen({ clock })
    expect((await why(next, id)).leases).toEqual([])
  })

  it('should be refused for an archived loop, and end when the loop is archived or removed', async () => {
    const { shop } = await open()
    await using _ = shop
    const { id, name } = await shop.create()
    await shop.idle.hold({ loop: id, forMs: WINDOW, reason: 'x' }, never)
    await shop.service.archive({ loop: id }, never)
    await until(() => shop.leases.list().length === 0)
    await expect(shop.idle.hold({ loop: name, forMs: WINDOW, reason: 'x' }, never)).rejects.toMatchObject({
      code: 'loop_archived',
    })
    await shop.service.unarchive({ loop: id }, never)
    await shop.idle.hold({ loop: id, forMs: WINDOW, reason: 'x' }, never)
    await shop.remove({ loop: id })
    expect(shop.leases.list()).toEqual([])
  })

  it('should be limited in number', async () => {
    const { shop } = await open()
    await using _ = shop
    const { id } = await shop.create({ start: false })
    const hold = () => shop.idle.hold({ loop: id, forMs: WINDOW, reason: 'x' }, never)
    for (let index = 0; index < MAX_HOLDS; index += 1) await hold()
    await expect(hold()).rejects.toMatchObject({ code: 'too_many_requests' })
  })
})

describe('leases of clients', () => {
  const acquire = (shop: Workshop, loop: string, client: LeaseClient, ttlMs?: number) =>
    shop.idle.acquire({ loop, reason: 'editor', ttlMs }, client, never)

  it('should go with their connection', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const client = connection()
    await acquire(shop, id, client)
    await acquire(shop, id, client)
    await pass(clock, 2 * WINDOW)
    expect(shop.leases.count(id)).toBe(2)
    client.end()
    expect(shop.leases.count(id)).toBe(0)
    await pass(clock, WINDOW)
    await until(async () => (await shop.state(id)) === 'stopped')
  })

  it('should end unless they are renewed in time', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const client = connection()
    const { lease } = await acquire(shop, id, client, 5000)
    await pass(clock, 4999)
    const renewed = await shop.idle.renew({ lease: lease.id, ttlMs: 5000 }, client, never)
    expect(Date.parse(renewed.lease.expiresAt ?? '')).toBe(clock.now().getTime() + 5000)
    await pass(clock, 4999)
    expect(shop.leases.count(id)).toBe(1)
    await pass(clock, 1)
    expect(shop.leases.count(id)).toBe(0)
    await expect(shop.idle.renew({ lease: lease.id, ttlMs: 5000 }, client, never)).rejects.toMatchObject({
      code: 'lease_not_found',
    })
  })

  it('should be refused to others, as are those of commands', async () => {
    const { shop } = await open()
    await using _ = shop
    const { id } = await shop.create()
    using _held = await use(shop, id)
    const { lease } = await acquire(shop, id, connection('c1'))
    const other = connection('c2')
    const release = (which: string) => shop.idle.release({ loop: id, lease: which }, other, never)
    for (const which of shop.leases.list(id).map((one) => one.id)) {
      await expect(release(which)).rejects.toMatchObject({ code: 'lease_foreign' })
    }
    await expect(release('none')).rejects.toMatchObject({ code: 'lease_not_found' })
    await expect(shop.idle.renew({ lease: lease.id, ttlMs: 5000 }, other, never)).rejects.toMatchObject({
      code: 'lease_foreign',
    })
    expect(shop.leases.count(id)).toBe(2)
  })

  it('should be limited per connection: ten thousand are refused, and harm nobody else', async () => {
    const { shop } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const client = connection()
    const outcomes = await Promise.allSettled(Array.from({ length: 10_000 }, () => acquire(shop, id, client)))
    const refused = outcomes.filter(({ status }) => status === 'rejected')
    expect(refused).toHaveLength(10_000 - MAX_CLIENT_LEASES)
    expect(refused[0]).toMatchObject({ reason: { code: 'too_many_requests' } })
    await acquire(shop, id, connection('c2'))
    client.end()
    expect(shop.leases.count(id)).toBe(1)
  }, 60_000)

  it('should not be taken for a connection that is over', async () => {
    const { shop } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const gone: LeaseClient = {
      id: 'gone',
      onEnd: () => {
        throw new LoopatError('cancelled', 'the client went away')
      },
    }
    await expect(acquire(shop, id, gone)).rejects.toMatchObject({ code: 'cancelled' })
    expect(shop.leases.count(id)).toBe(0)
  })
})

describe('adoption', () => {
  /** Waits until a daemon has seen the container that it adopts. */
  const adopted = (shop: Workshop, id: string) => until(async () => (await why(shop, id)).next.action !== 'asleep')

  it('should go on with the window where it was', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    ;(await use(shop, id)).release()
    await pass(clock, 20 * MINUTE)
    await using next = await shop.reopen({ clock })
    expect((await why(next, id)).lastActivity).toMatchObject({ what: 'exec: make test' })
    await pass(clock, 10 * MINUTE - 1)
    expect(await next.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await next.state(id)) === 'stopped')
  })

  it('should begin the window anew when the loop was in use as the daemon died', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await use(shop, id)
    await pass(clock, 20 * MINUTE)
    await using next = await shop.reopen({ clock })
    await adopted(next, id)
    await pass(clock, WINDOW - 1)
    expect(await next.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await next.state(id)) === 'stopped')
  })

  it('should stop at once what should have slept while no daemon ran', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await pass(clock, 10_000)
    await shop.leave()
    clock.advance(WINDOW)
    await using next = await shop.reopen({ clock })
    await adopted(next, id)
    await pass(clock, 0)
    await until(async () => (await next.state(id)) === 'stopped')
  })

  it('should begin the window anew after a reboot', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await pass(clock, 20 * MINUTE)
    await using next = await shop.reopen({ clock, idle: { boot: 'boot-2' } })
    await adopted(next, id)
    await pass(clock, WINDOW - 1)
    expect(await next.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await next.state(id)) === 'stopped')
  })

  it('should put an archived loop to sleep that a look into it left running', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await shop.service.archive({ loop: id }, never)
    await shop.engine.container.start(nameOf(id))
    await using next = await shop.reopen({ clock })
    await until(async () => (await why(next, id)).next.action === 'sleep')
    await pass(clock, WINDOW)
    await until(async () => (await why(next, id)).next.action === 'asleep')
    expect(await next.state(id)).toBe('archived')
  })
})

describe('idle/list', () => {
  it('should tell of every loop', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    const other = await shop.create({ start: false })
    const after = { window: WINDOW, from: 'default' }
    const at = new Date(clock.now().getTime() + WINDOW).toISOString()
    const { loops } = await shop.idle.list({}, never)
    expect(new Set(loops)).toEqual(
      new Set([
        { id, leases: 0, after, next: { action: 'sleep', at } },
        { id: other.id, leases: 0, after, next: { action: 'asleep', at: null } },
      ]),
    )
  })
})

describe('what is done to a loop', () => {
  it('should keep it awake, and be told: a start, the wait for its image, and a recreation', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create({ start: false })
    const held: string[] = []
    shop.leases.watch(({ lease, isTaken }) => void held.push(`${isTaken ? '+' : '-'} ${lease.owner}: ${lease.reason}`))
    await shop.start(id)
    expect(held).toEqual([
      '+ start: start',
      '+ image: the sandbox image',
      '- image: the sandbox image',
      '- start: start',
    ])
    const hold = shop.engine.faults.hold('container.create')
    const updating = shop.update({ loop: id, dns: ['10.0.0.1'] })
    await hold.reached
    expect((await why(shop, id)).leases).toMatchObject([{ owner: 'recreation', reason: expect.any(String) }])
    await pass(clock, 10 * WINDOW)
    hold.release()
    await updating
    expect(shop.leases.list()).toEqual([])
    await pass(clock, WINDOW - 1)
    expect(await shop.state(id)).toBe('running')
  })

  it('should begin the window anew when a build for it fails', async () => {
    const { shop, clock } = await open()
    await using _ = shop
    const { id } = await shop.create()
    await pass(clock, WINDOW - 1)
    shop.images.failure = new LoopatError('image_build_failed', 'no')
    await expect(shop.update({ loop: id, image: 'localhost/other:1' })).rejects.toMatchObject({
      code: 'image_build_failed',
    })
    expect(await why(shop, id)).toMatchObject({ leases: [], lastActivity: { what: 'image: localhost/other:1' } })
    await pass(clock, WINDOW - 1)
    expect(await shop.state(id)).toBe('running')
    await pass(clock, 1)
    await until(async () => (await shop.state(id)) === 'stopped')
  })
})
