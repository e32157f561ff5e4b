import { describe, expect, it } from 'vitest'
import { IdleScheduler } from '../../../daemon/idle/idle-scheduler.ts'
import { LeaseRegister } from '../../../daemon/idle/lease.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { Random } from '../../harness/random.ts'
import { memoryLog } from '../loop/kit.ts'
import { IdleBench, IdleModel } from './idle-model.ts'
import { ManualClock } from './manual-clock.ts'

describe('IdleScheduler', () => {
  it('should stop a loop that nobody used for its window (A-3)', async () => {
    const b = IdleBench.begun()
    b.start('a')
    await b.pass(99)
    expect(b.stops).toEqual([])
    await b.pass(1)
    expect(b.stops).toEqual(['a@100'])
    expect(b.scheduler.running).toBe(0)
  })

  it('should count from the end of the last lease, and not at all before (A-2, A-3)', async () => {
    const b = IdleBench.begun()
    b.start('a')
    const first = b.hold('a')
    const second = b.hold('a')
    await b.pass(1000)
    first.release()
    await b.pass(1000)
    second.release()
    await b.pass(99)
    expect(b.stops).toEqual([])
    b.hold('a').release()
    await b.pass(99)
    expect(b.stops).toEqual([])
    await b.pass(1)
    expect(b.stops).toEqual(['a@2199'])
  })

  it('should keep a loop awake whose container was started again', async () => {
    const b = IdleBench.begun()
    b.start('a')
    await b.pass(99)
    b.stop('a')
    b.start('a')
    await b.pass(99)
    expect(b.stops).toEqual([])
  })

  it('should look again under the lock, and keep what came into use meanwhile (A-5)', async () => {
    const b = IdleBench.begun()
    const { promise, resolve } = deferred<void>()
    b.before = () => promise
    b.start('a')
    await b.pass(100)
    const lease = b.hold('a')
    resolve()
    await b.pass(500)
    expect(b.stops).toEqual([])
    lease.release()
    await b.pass(100)
    expect(b.stops).toEqual(['a@700'])
  })

  it('should try a stop that fails again after growing pauses, and tell why', async () => {
    const b = IdleBench.begun()
    let failures = 3
    b.before = () => {
      failures -= 1
      if (failures >= 0) throw new Error('podman is down')
    }
    b.start('a')
    await b.pass(100)
    expect(b.scheduler.failure('a')).toMatchObject({ message: 'podman is down', attempts: 1, retryAt: 5100 })
    await b.pass(5000)
    await b.pass(10_000)
    expect(b.scheduler.failure('a')).toMatchObject({ attempts: 3 })
    await b.pass(19_999)
    expect(b.stops).toEqual([])
    await b.pass(1)
    expect(b.stops).toEqual(['a@35100'])
    expect(b.scheduler.failure('a')).toBeUndefined()
  })

  it('should forget failures when the loop is used again', async () => {
    const b = IdleBench.begun()
    let isDown = true
    b.before = () => {
      if (isDown) throw new Error('podman is down')
    }
    b.start('a')
    await b.pass(100)
    b.hold('a').release()
    isDown = false
    expect(b.scheduler.failure('a')).toBeUndefined()
    await b.pass(100)
    expect(b.stops).toEqual(['a@200'])
  })

  it('should follow a change of the window at once', async () => {
    const b = IdleBench.begun()
    b.start('a')
    await b.pass(50)
    b.windows.set('a', 'never')
    b.scheduler.rearm('a')
    await b.pass(1000)
    expect(b.stops).toEqual([])
    b.windows.set('a', 2000)
    b.scheduler.rearm('a')
    await b.pass(950)
    expect(b.stops).toEqual(['a@2000'])
  })

  it('should not care what the wall clock does, nor how long the machine was suspended', async () => {
    const b = IdleBench.begun()
    b.start('a')
    b.clock.jump(86_400_000)
    await b.pass(50)
    b.clock.jump(-10 * 86_400_000)
    await b.pass(49)
    expect(b.stops).toEqual([])
    await b.pass(1)
    expect(b.stops).toEqual(['a@100'])
  })

  it('should stop nothing before it begins, and what is over then at once', async () => {
    const b = new IdleBench()
    b.start('a')
    b.start('b')
    await b.pass(1000)
    expect(b.stops).toEqual([])
    b.hold('b')
    b.scheduler.begin()
    await b.pass(0)
    expect(b.stops).toEqual(['a@1000'])
  })

  it('should take no loop for idle before it begins', async () => {
    const b = new IdleBench()
    b.start('a')
    expect(b.scheduler.isIdle('a')).toBe(false)
    expect(b.scheduler.idle()).toEqual([])
    b.scheduler.begin()
    expect(b.scheduler.idle()).toEqual(['a'])
  })

  it('should note a start also with a clock that never stands still', async () => {
    const clock = new ManualClock()
    const notes: string[] = []
    const monotonicMs = () => {
      clock.advance(0.001)
      return clock.monotonicMs()
    }
    await using scheduler = new IdleScheduler({
      clock: { now: () => clock.now(), monotonicMs, sleep: (ms, signal) => clock.sleep(ms, signal) },
      log: memoryLog([]),
      leases: new LeaseRegister(clock),
      windowOf: () => 100,
      idleSince: (id) => (id === 'a' ? monotonicMs() : 0),
      onActivity: (id, { what }) => notes.push(`${id}: ${what}`),
      sleep: async () => 'kept',
    })
    scheduler.container('a', 'run 1')
    scheduler.container('b', 'run 1')
    expect(notes).toEqual(['a: it was started'])
  })

  it('should stop few at a time, and all in the end', async () => {
    const b = IdleBench.begun()
    let now = 0
    let most = 0
    const { promise, resolve } = deferred<void>()
    b.before = async () => {
      now += 1
      most = Math.max(most, now)
      await promise
      now -= 1
    }
    for (let index = 0; index < 50; index += 1) b.start(`l${index}`)
    await b.pass(100)
    expect(now).toBe(4)
    resolve()
    for (let turns = 0; turns < 20; turns += 1) await b.pass(0)
    expect({ most, stops: b.stops.length, running: b.running.size }).toEqual({ most: 4, stops: 50, running: 0 })
  })

  it('should name the longest idle first, and nothing that is in use or never sleeps', async () => {
    const b = IdleBench.begun()
    for (const id of ['a', 'b', 'c', 'd']) {
      b.start(id)
      await b.pass(1)
    }
    b.hold('b')
    b.windows.set('d', 'never')
    b.hold('a').release()
    expect(b.scheduler.idle()).toEqual(['c', 'a'])
  })

  it('should end with what is under way', async () => {
    const b = IdleBench.begun()
    b.start('a')
    await b.scheduler[Symbol.asyncDispose]()
    await b.pass(1000)
    expect({ stops: b.stops, sleeping: b.clock.sleeping }).toEqual({ stops: [], sleeping: 0 })
  })

  it('should stop a loop exactly when it has been without a lease for its window, in any history', async () => {
    const random = Random.fromEnvironment('IDLE_SEED')
    const b = IdleBench.begun()
    const ids = Array.from({ length: 12 }, (_, index) => `l${index}`)
    const model = new IdleModel(b, ids)
    for (let step = 0; step < 6000; step += 1) {
      model.act(random)
      await b.pass(random.pick([0, 1, 1, 5, 10]))
      model.apply()
      expect([...b.running].sort()).toEqual(model.running)
    }
    expect(b.stops.length).toBeGreaterThan(20)
    expect(b.stops.sort()).toEqual(model.expected.sort())
  })

  it('should know a hundred thousand loops with one timer', async () => {
    const b = IdleBench.begun()
    for (let index = 0; index < 100_000; index += 1) b.start(`l${index}`)
    expect(b.clock.sleeping).toBe(1)
    for (let index = 0; index < 1000; index += 1) b.hold(`l${index}`).release()
    expect(b.clock.sleeping).toBe(1)
    await b.scheduler[Symbol.asyncDispose]()
    expect(b.clock.sleeping).toBe(0)
  })
})
