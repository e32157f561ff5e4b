import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../daemon/lib/clock.ts'
import { type Handover, holdFailure, ServiceManager, takeHandover } from '../../daemon/service-manager.ts'
import { type LogEntry, memoryLog } from '../harness/peer-server.ts'
import { ManualClock } from './idle/manual-clock.ts'

const nothing: Handover = { descriptor: undefined, notifySocket: undefined, watchdogMs: undefined }

describe('takeHandover', () => {
  it('should take what is meant for this process', () => {
    const env = { LISTEN_FDS: '1', LISTEN_PID: '7', NOTIFY_SOCKET: '/n', WATCHDOG_PID: '7', WATCHDOG_USEC: '30000000' }
    expect(takeHandover(env, 7)).toEqual({ descriptor: 3, notifySocket: '/n', watchdogMs: 30_000 })
  })

  it.each([
    [{}],
    [{ LISTEN_FDS: '1', LISTEN_PID: '8', WATCHDOG_PID: '8', WATCHDOG_USEC: '1000' }],
    [{ LISTEN_FDS: '1' }],
    [{ LISTEN_FDS: '0', LISTEN_PID: '7', NOTIFY_SOCKET: '' }],
    [{ LISTEN_FDS: '-1', LISTEN_PID: '7', WATCHDOG_USEC: '0' }],
    [{ LISTEN_FDS: 'one', LISTEN_PID: '7', WATCHDOG_USEC: '1e3' }],
  ])('should take nothing that is missing, broken or meant for another process: %o', (env) => {
    expect(takeHandover({ ...env }, 7)).toEqual(nothing)
  })

  it('should leave nothing of it to the programs that are started, and the rest as it is', () => {
    const env = {
      ...{ LISTEN_FDS: '1', LISTEN_PID: '8', LISTEN_FDNAMES: 'x', LISTEN_PIDFDID: '1' },
      ...{ NOTIFY_SOCKET: '/n', WATCHDOG_PID: '8', WATCHDOG_USEC: '1', PATH: '/bin' },
    }
    takeHandover(env, 7)
    expect(env).toEqual({ PATH: '/bin' })
  })
})

describe('ServiceManager', () => {
  let directory: string
  let said: string
  let log: LogEntry[]

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'notify-'))
    said = join(directory, 'said')
    log = []
    // Stands in for systemd's own program: what it would have sent, and where.
    writeFileSync(join(directory, 'systemd-notify'), `#!/bin/sh\necho "$NOTIFY_SOCKET $*" >>${said}\n`)
    chmodSync(join(directory, 'systemd-notify'), 0o755)
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const lines = () => (existsSync(said) ? readFileSync(said, 'utf8').trim().split('\n') : [])
  const manager = (handover: Partial<Handover>, clock = systemClock, path = `${directory}:/usr/bin:/bin`) =>
    new ServiceManager({ handover: { ...nothing, ...handover }, env: { PATH: path }, clock, log: memoryLog(log) })

  it('should say that it is ready, and that it stops and how long that may take', async () => {
    using subject = manager({ notifySocket: '/n' })
    await subject.ready()
    await subject.stopping(1500)
    expect(lines()).toEqual(['/n READY=1', '/n STOPPING=1 EXTEND_TIMEOUT_USEC=1500000'])
  })

  it('should say nothing where nobody listens', async () => {
    using subject = manager({})
    await subject.ready()
    await subject.stopping(1)
    expect(lines()).toEqual([])
  })

  it('should not be ready without a way to say so, but stop all the same', async () => {
    using subject = manager({ notifySocket: '/n' }, systemClock, directory)
    rmSync(join(directory, 'systemd-notify'))
    await expect(subject.ready()).rejects.toMatchObject({ code: 'internal', next: expect.any(String) })
    await subject.stopping(1)
    expect(log.map(({ message }) => message)).toEqual(['the service manager could not be told'])
  })

  it('should say in one line why it cannot start, and end only a while later', async () => {
    const clock = new ManualClock()
    const options = { handover: { ...nothing, notifySocket: '/n' }, env: { PATH: `${directory}:/usr/bin:/bin` }, clock }
    const ended = vi.fn()
    const held = holdFailure(options, 'config.toml:1: unknown key x\nCorrect it.', new AbortController().signal)
    void held.then(ended)
    const said = ['/n STATUS=config.toml:1: unknown key x Correct it.']
    await vi.waitFor(() => expect(lines()).toEqual(said), { timeout: 5_000 })
    await vi.waitFor(() => expect(clock.sleeping).toBe(1), { timeout: 5_000 })
    expect(ended).not.toHaveBeenCalled()
    clock.advance(3000)
    await held
  })

  it('should end at once when it is told to, and where nobody asks why', async () => {
    const env = { PATH: `${directory}:/usr/bin:/bin` }
    const handover = { ...nothing, notifySocket: '/n' }
    await holdFailure({ handover, env, clock: systemClock }, 'broken', AbortSignal.timeout(50))
    const never = new AbortController().signal
    await holdFailure({ handover: nothing, env, clock: new ManualClock() }, 'broken', never)
    // Nor does it take its time where nobody can be told.
    await holdFailure({ handover, env: { PATH: '/nowhere' }, clock: new ManualClock() }, 'broken', never)
    expect(lines()).toEqual(['/n STATUS=broken'])
  })

  it('should give a sign of life every half of the time, until it is disposed of', async () => {
    const clock = new ManualClock()
    const subject = manager({ notifySocket: '/n', watchdogMs: 10_000 }, clock)
    subject.watch(() => Promise.resolve())
    clock.advance(4999)
    expect(lines()).toEqual([])
    clock.advance(1)
    await vi.waitFor(() => expect([lines().length, clock.sleeping]).toEqual([1, 1]), { timeout: 5_000 })
    clock.advance(5000)
    await vi.waitFor(() => expect(lines()).toEqual(['/n WATCHDOG=1', '/n WATCHDOG=1']), { timeout: 5_000 })
    subject[Symbol.dispose]()
    await vi.waitFor(() => expect(clock.sleeping).toBe(0))
  })

  it('should give none as long as the daemon does not prove that it works', async () => {
    const clock = new ManualClock()
    using subject = manager({ notifySocket: '/n', watchdogMs: 10_000 }, clock)
    const prove = vi.fn().mockRejectedValueOnce(new Error('no answer')).mockResolvedValue(undefined)
    subject.watch(prove)
    clock.advance(5000)
    await vi.waitFor(() => expect(log.map(({ message }) => message)).toEqual(['the daemon does not answer itself']))
    expect(lines()).toEqual([])
    clock.advance(1000)
    await vi.waitFor(() => expect(lines()).toEqual(['/n WATCHDOG=1']), { timeout: 5_000 })
  })

  it('should not wait for ever for a proof', async () => {
    using subject = manager({ notifySocket: '/n', watchdogMs: 40 })
    const reasons: unknown[] = []
    subject.watch(
      (signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            reject(signal.reason)
          })
        }),
    )
    await vi.waitFor(() => expect(reasons.length).toBeGreaterThan(0))
    expect(lines()).toEqual([])
  })

  it('should do nothing without a watchdog', () => {
    const clock = new ManualClock()
    using subject = manager({ notifySocket: '/n' }, clock)
    subject.watch(() => Promise.reject(new Error('never called')))
    expect(clock.sleeping).toBe(0)
  })
})
