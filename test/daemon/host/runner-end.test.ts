import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type CallOptions, HostBed, type HostCaller } from '../../harness/host-caller.ts'

const size = { cols: 80, rows: 24 }

/** Words of all processes that have the number among them. */
async function left(number: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const all = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return all.filter((words) => words.split('\0').includes(number))
}

describe.each([
  ['pipes', undefined],
  ['a terminal', size],
])('the end of a host command on %s', (_where, its) => {
  let bed: HostBed
  /** Nothing else on this machine sleeps so long. */
  let number: string

  beforeEach(async () => {
    bed = await HostBed.make()
    number = String(randomInt(1e6, 1e9))
  })
  afterEach(() => bed[Symbol.asyncDispose](), 20_000)

  /** Four processes, of which two have left the group, one of them the session, and one has lost its parent. */
  async function many(options: CallOptions = {}, before = ''): Promise<HostCaller> {
    const script = `${before}
      sleep ${number} &
      setsid sleep ${number} &
      (setsid sleep ${number} &)
      echo ready
      sleep ${number}`
    const env = { PATH: '/usr/bin:/bin', LOOPAT_HOST: `loop:${number}` }
    const caller = await bed.sh(script, { env, size: its, ...options })
    await caller.expect(/ready/)
    await vi.waitFor(async () => expect(await left(number)).toHaveLength(4), 10_000)
    return caller
  }

  const nothing = () => vi.waitFor(async () => expect(await left(number)).toEqual([]), { timeout: 5000, interval: 50 })

  it.each([
    ['hangs up', '', (caller: HostCaller) => caller.socket.destroy()],
    ['hangs up, and it ignores that', 'trap "" TERM HUP', (caller: HostCaller) => caller.socket.destroy()],
    ['breaks the protocol', '', (caller: HostCaller) => void caller.socket.write(Buffer.from([9, 0, 0, 0, 0]))],
  ])('should be the end of all that it started when its caller %s', async (_what, before, go) => {
    const caller = await many({}, before)
    go(caller)
    await nothing()
    expect(await bed.lastEnd()).toMatchObject({ reason: 'caller' })
  })

  it('should come when its time is over, with a word about it', async () => {
    const caller = await many({ maxMs: 1500 }, 'trap "" TERM HUP')
    expect(await caller.exit).toBe(124)
    expect(caller.err).toContain('loopat-host: the command was ended: it took longer than 1.5 s')
    await nothing()
    expect(await bed.lastEnd()).toMatchObject({ code: 124, reason: 'time' })
  })

  it('should come when it has written too much, with a word about it', async () => {
    const caller = await bed.sh(`sleep ${number} & yes`, { size: its, maxOutputBytes: 300_000 })
    expect(await caller.exit).toBe(125)
    expect(caller.out).toHaveLength(300_000)
    expect(caller.err).toContain('loopat-host: the command was ended: it wrote more than 300000 bytes')
    await nothing()
    expect(await bed.lastEnd()).toMatchObject({ code: 125, reason: 'output', bytesOut: 300_000 })
  })

  it('should come by TERM when the daemon says so', async () => {
    const caller = await many({}, 'trap "echo bye; exit 7" TERM')
    bed.runs[0]?.end()
    expect(await caller.exit).toBe(7)
    expect(caller.out.toString()).toContain('bye')
    await nothing()
    expect(await bed.lastEnd()).toMatchObject({ code: 7, reason: 'stopped' })
  })

  it('should come when the pool is disposed of', async () => {
    const caller = await many({}, 'trap "" TERM HUP')
    const begun = performance.now()
    await bed.pool[Symbol.asyncDispose]()
    expect(performance.now() - begun).toBeLessThan(5000)
    expect(await left(number)).toEqual([])
    expect(await bed.lastEnd()).toMatchObject({ reason: 'stopped' })
    await caller.exit
    expect(bed.pool.pids).toEqual([])
  })

  it('should come when its runner is killed, and the next command should run', async () => {
    const caller = await many({}, 'trap "" TERM HUP')
    const pids = await Promise.all(bed.pool.pids.map(async (pid) => ({ pid, words: await wordsOf(pid) })))
    for (const { pid, words } of pids) {
      if (words.includes('terminal') === (its !== undefined)) process.kill(pid, 'SIGKILL')
    }
    await nothing()
    expect(await caller.exit).toBeUndefined()
    expect(await bed.lastEnd()).toEqual({ code: 125, reason: 'lost', bytesIn: 0, bytesOut: 0 })
    const next = await bed.sh('echo again', { size: its })
    expect(await next.all()).toMatchObject({ code: 0, out: expect.stringMatching(/^again\r?\n$/) })
  })

  it('should come when the daemon is killed', async () => {
    const env = { ...process.env, NUMBER: number, TERMINAL: its === undefined ? '' : 'yes' }
    const daemon = spawn(process.execPath, ['--input-type=module', '--eval', DAEMON], {
      env,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    await vi.waitFor(async () => expect(await left(number)).toHaveLength(3), 10_000)
    daemon.kill('SIGKILL')
    await once(daemon, 'exit')
    await nothing()
  }, 30_000)

  it('should leave a caller that reads nothing only a short time', async () => {
    const caller = await bed.sh('yes', { size: its, maxMs: 500 })
    caller.socket.pause()
    const end = await vi.waitFor(() => {
      expect(bed.runs).toHaveLength(1)
      return bed.runs[0]
    })
    expect(await Promise.race([end?.ended, sleep(8000)])).toMatchObject({ code: 124, reason: 'time' })
  })
})

async function wordsOf(pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/cmdline`, 'utf8')
}

/** A daemon that has nothing but a pool, and a caller of its own. */
const DAEMON = `
import { connect, createServer } from 'node:net'
import { RunnerPool } from '${new URL('../../../daemon/dist/host/runner-pool.js', import.meta.url)}'
import { systemClock } from '${new URL('../../../daemon/dist/lib/clock.js', import.meta.url)}'
const main = new URL('${new URL('../../../daemon/dist/host-runner-main.js', import.meta.url)}')
const pool = new RunnerPool({ main, env: {}, clock: systemClock })
const path = '/tmp/host-' + process.pid + '.sock'
const { NUMBER, TERMINAL } = process.env
const script = 'trap "" TERM HUP; sleep ' + NUMBER + ' & setsid sleep ' + NUMBER + ' & sleep ' + NUMBER
createServer({ pauseOnConnect: true }, (socket) => pool.run(socket, Buffer.alloc(0), {
  path: '/bin/sh',
  argv: ['sh', '-c', script].map((word) => Buffer.from(word)),
  directory: { from: '/tmp', names: [] },
  env: { PATH: '/usr/bin:/bin', LOOPAT_HOST: 'loop:' + NUMBER },
  size: TERMINAL ? { cols: 80, rows: 24 } : undefined,
  maxMs: 60000,
  maxOutputBytes: 1000000,
})).listen(path, () => connect(path))
`
