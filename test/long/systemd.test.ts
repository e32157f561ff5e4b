import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { killAndUse, SystemdWorkspace, testBed } from '../harness/systemd.ts'

/** What the shipped unit says. */
const WATCHDOG_MS = 30_000

describe('the daemon under systemd, as it is shipped', () => {
  let ws: SystemdWorkspace

  beforeAll(async () => {
    ws = new SystemdWorkspace(await testBed())
    await ws.ok('daemon', 'install')
  })
  afterAll(() => ws.remove())

  it('should be back after each of 20 kills within a minute, and never have failed', async () => {
    const began = performance.now()
    await killAndUse(ws, 20)
    const seconds = (performance.now() - began) / 1000
    console.log(`20 kills in ${seconds.toFixed(1)} s`)
    expect(seconds).toBeLessThan(60)
  })

  it('should be replaced within five seconds more than the watchdog waits when it hangs', async () => {
    expect(await ws.property('WatchdogUSec')).toBe(`${WATCHDOG_MS / 1000}s`)
    const pid = await ws.answeringPid()
    const began = performance.now()
    process.kill(pid, 'SIGSTOP')
    let next = pid
    while (next === pid || next === 0) {
      await sleep(100)
      next = await ws.mainPid()
    }
    const seconds = (performance.now() - began) / 1000
    console.log(`hanging daemon replaced after ${seconds.toFixed(1)} s`)
    expect(seconds).toBeLessThan(WATCHDOG_MS / 1000 + 5)
    expect(await ws.answeringPid()).toBe(next)
    expect(await ws.property('ActiveState')).toBe('active')
  })
})
