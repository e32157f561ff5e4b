import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { LeaseRegister } from '../../../daemon/idle/lease.ts'
import { ManualClock } from './manual-clock.ts'

describe('LeaseRegister', () => {
  it('should list what is held, per loop and in all', () => {
    const clock = new ManualClock()
    const leases = new LeaseRegister(clock)
    const one = leases.acquire('a', { owner: 'exec', reason: 'make test' })
    leases.acquire('b', { owner: 'terminal', reason: 'main' })
    expect(leases.list('a')).toEqual([
      { id: one.id, owner: 'exec', reason: 'make test', since: clock.now().toISOString(), expiresAt: null },
    ])
    expect(leases.list().map(({ owner }) => owner)).toEqual(['exec', 'terminal'])
    expect(leases.list('c')).toEqual([])
  })

  it('should give a lease back once, also by using', () => {
    const leases = new LeaseRegister(new ManualClock())
    const kept = leases.acquire('a', { owner: 'exec', reason: 'kept' })
    {
      using _lease = leases.acquire('a', { owner: 'exec', reason: 'scoped' })
      expect(leases.list('a')).toHaveLength(2)
    }
    expect(leases.list('a').map(({ reason }) => reason)).toEqual(['kept'])
    kept.release()
    kept.release()
    expect(leases.list()).toEqual([])
  })

  it('should ask every holder of the loop to let go and wait until all have', async () => {
    const leases = new LeaseRegister(new ManualClock())
    const asked: string[] = []
    const first = leases.acquire('a', { owner: 'exec', reason: '1', end: () => asked.push('first') })
    const second = leases.acquire('a', { owner: 'exec', reason: '2', end: () => asked.push('second') })
    leases.acquire('b', { owner: 'exec', reason: '3', end: () => asked.push('other loop') })
    let done = false
    const ending = leases.endAll('a', 1000).then((all) => {
      done = true
      return all
    })
    expect(asked).toEqual(['first', 'second'])
    first.release()
    await Promise.resolve()
    expect(done).toBe(false)
    second.release()
    expect(await ending).toBe(true)
    expect(leases.list()).toHaveLength(1)
  })

  it('should wait no longer than the grace for a holder that does not let go', async () => {
    const clock = new ManualClock()
    const leases = new LeaseRegister(clock)
    leases.acquire('a', { owner: 'exec', reason: 'stubborn' })
    const ending = leases.endAll('a', 5000)
    clock.advance(4999)
    expect(clock.sleeping).toBe(1)
    clock.advance(1)
    expect(await ending).toBe(false)
  })

  it('should return at once when nobody holds the loop, or when holders let go at once', async () => {
    const clock = new ManualClock()
    const leases = new LeaseRegister(clock)
    expect(await leases.endAll('a', 5000)).toBe(true)
    const lease = leases.acquire('a', { owner: 'exec', reason: 'x', end: () => lease.release() })
    expect(await leases.endAll('a', 5000)).toBe(true)
    expect(clock.sleeping).toBe(0)
  })

  it('should stop waiting when its caller gives up', async () => {
    const clock = new ManualClock()
    const leases = new LeaseRegister(clock)
    leases.acquire('a', { owner: 'exec', reason: 'stubborn' })
    const caller = new AbortController()
    const ending = leases.endAll('a', 5000, caller.signal)
    caller.abort(new Error('gave up'))
    await expect(ending).rejects.toThrow('gave up')
    await Promise.resolve()
    expect(clock.sleeping).toBe(0)
  })

  it('should end a lease when its time awake is over, and tell when that will be', async () => {
    const clock = new ManualClock()
    const leases = new LeaseRegister(clock)
    const lease = leases.acquire('a', { owner: 'client', reason: 'x', ttlMs: 1000 })
    clock.jump(3_600_000)
    expect(leases.list('a')).toMatchObject([{ expiresAt: new Date(clock.now().getTime() + 1000).toISOString() }])
    lease.renew(5000)
    lease.release()
    lease.renew(5000)
    expect(leases.list()).toEqual([])
    await turn()
    expect(clock.sleeping).toBe(0)
  })

  it('should tell who watches of each change, with what is left', () => {
    const leases = new LeaseRegister(new ManualClock())
    const seen: [string, string, boolean, number][] = []
    const stop = leases.watch(({ loopId, lease, isTaken, count }) => seen.push([loopId, lease.reason, isTaken, count]))
    const first = leases.acquire('a', { owner: 'exec', reason: '1' })
    leases.acquire('a', { owner: 'exec', reason: '2' })
    first.release()
    leases.drop('a')
    stop()
    leases.acquire('a', { owner: 'exec', reason: '3' })
    expect(seen).toEqual([
      ['a', '1', true, 1],
      ['a', '2', true, 2],
      ['a', '1', false, 1],
      ['a', '2', false, 0],
    ])
  })

  it('should take a lease again as it was', () => {
    const leases = new LeaseRegister(new ManualClock())
    const restored = { id: 'job-1', since: '2029-01-01T00:00:00.000Z' }
    leases.acquire('a', { owner: 'job', reason: 'make', restored })
    expect(leases.list('a')).toMatchObject([{ ...restored, owner: 'job' }])
  })

  it('should neither ask nor wait for those who have nothing running', async () => {
    const leases = new LeaseRegister(new ManualClock())
    leases.acquire('a', { owner: 'hold', reason: 'x', passive: true, end: () => expect.unreachable() })
    expect(await leases.endAll('a', 1000)).toBe(true)
    expect({ users: leases.users('a'), all: leases.users(), count: leases.count('a') }).toEqual({
      users: [],
      all: [],
      count: 1,
    })
  })
})
