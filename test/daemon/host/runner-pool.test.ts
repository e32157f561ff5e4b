import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../../daemon/lib/clock.ts'
import { HostBed } from '../../harness/host-caller.ts'

describe('a pool of runners', () => {
  it('should have none before one is wanted, and be warmed once', async () => {
    await using bed = await HostBed.make()
    expect(bed.pool.pids).toEqual([])
    bed.pool.warm()
    const { pids } = bed.pool
    expect(pids).toHaveLength(2)
    bed.pool.warm()
    expect(bed.pool.pids).toEqual(pids)
    expect(await (await bed.sh('echo hello')).all()).toMatchObject({ out: 'hello\n', code: 0 })
    expect(bed.pool.pids).toEqual(pids)
  })

  it('should let them go after some time without a command, and not before', async () => {
    await using bed = await HostBed.make({ idleMs: 600 })
    const caller = await bed.sh('echo ready; sleep 1.5; echo late')
    await caller.expect(/ready/)
    const { pids } = bed.pool
    await sleep(1000)
    expect(bed.pool.pids).toEqual(pids)
    expect(await caller.all()).toMatchObject({ code: 0 })
    await vi.waitFor(() => expect(bed.pool.pids).toEqual([]), 5000)
    for (const pid of pids) expect(existsSync(`/proc/${pid}`)).toBe(false)
    expect(await (await bed.sh('echo again')).all()).toMatchObject({ out: 'again\n', code: 0 })
  })

  it('should take many commands at once', async () => {
    await using bed = await HostBed.make()
    const callers = await Promise.all(Array.from({ length: 40 }, (_, index) => bed.sh(`cat; exit ${index}`)))
    for (const [index, caller] of callers.entries()) await caller.write(Buffer.from(`input ${index}`))
    const ends = await Promise.all(callers.map((caller) => caller.all()))
    // Who comes first is served first, so the codes are theirs, whatever the order of the connections.
    expect(ends.map(({ code }) => code).sort((a, b) => Number(a) - Number(b))).toEqual(callers.map((_, index) => index))
    expect(ends.map(({ out }) => out)).toEqual(callers.map((_, index) => `input ${index}`))
  })

  it('should tell of a caller that is gone before its command began, and go on', async () => {
    await using bed = await HostBed.make()
    const caller = await bed.sh('sleep 60')
    caller.socket.destroy()
    await vi.waitFor(async () => expect(await bed.lastEnd()).toMatchObject({ reason: 'caller' }), 5000)
    expect(await (await bed.sh('echo on')).all()).toMatchObject({ out: 'on\n', code: 0 })
  })

  it('should take none when it is disposed of', async () => {
    const bed = await HostBed.make({ clock: systemClock })
    await bed.pool[Symbol.asyncDispose]()
    const caller = await bed.sh('echo never')
    expect(await caller.exit).toBeUndefined()
    expect(await bed.lastEnd()).toMatchObject({ code: 125, reason: 'stopped' })
    bed.pool.warm()
    expect(bed.pool.pids).toEqual([])
    await bed[Symbol.asyncDispose]()
  })
})
