import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JobInfo } from '../../protocol/job.ts'
import { eventually, makeWorkspace, processesWith, type TestWorkspace } from '../harness/workspace.ts'

/** Counts to a number. */
const COUNTER = 'i=0; while [ $i -lt "$1" ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 7'
/** Counts until there is a file. */
const ENDLESS = 'i=0; until [ -e "$1" ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 7'

/** Seconds that sleeps of this run take, to find them on the host. */
const nap = (index: number) => `${10_000_000 + process.pid * 10 + index}`
const NAPS = { stubborn: nap(0), forgotten: nap(1), loose: nap(2), orphaned: nap(3) }

describe('loopctl job', () => {
  let workspace: TestWorkspace
  let loop: string

  beforeAll(async () => {
    workspace = await makeWorkspace()
    loop = await workspace.ok('create', 'job')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  const start = (...words: string[]) => workspace.ok('job', 'start', loop, '--', ...words)
  const shell = (script: string, ...args: string[]) => start('sh', '-c', script, 'sh', ...args)
  const logs = async (id: string, ...options: string[]) => {
    const { code, stdout, stderr } = await workspace.loopctl(['job', 'logs', ...options, loop, id])
    return { code, stdout, stderr }
  }
  const wait = async (id: string) => (await workspace.loopctl(['job', 'wait', loop, id])).code
  const jobs = () => workspace.json<JobInfo[]>('job', 'ls', loop)
  const jobOf = async (id: string) => (await jobs()).find((job) => job.id === id)
  const countTo = (last: number) => Array.from({ length: last }, (_, index) => `${index + 1}\n`).join('')

  const touch = (path: string) => workspace.ok('exec', loop, 'touch', path)
  const linesOf = (text: string) => text.split('\n').slice(0, -1)

  async function killDaemon(): Promise<void> {
    process.kill(await workspace.daemonPid(), 'SIGKILL')
  }

  it('should return at once, keep both outputs apart, and hand on the exit code', async () => {
    const id = await shell(
      'echo out; echo err >&2; until [ -e /tmp/go ]; do sleep 0.05; done; echo "$LOOPAT_LOOP_NAME"; exit 7',
    )
    expect(id).toMatch(/^[0-9a-f]{8}$/)
    expect(await jobOf(id)).toMatchObject({ id, state: 'running', exitCode: null, endedAt: null })
    await touch('/tmp/go')
    expect(await wait(id)).toBe(7)
    expect(await logs(id)).toEqual({ code: 0, stdout: `out\n${loop}\n`, stderr: 'err\n' })
    expect(await jobOf(id)).toMatchObject({ state: 'exited', exitCode: 7, reason: null })
    expect(await wait(id)).toBe(7)
  })

  it('should start one with exec --detach, and with variables and a directory of its own', async () => {
    const id = await workspace.ok(
      'exec',
      '-d',
      '-e',
      'A=b c',
      '-w',
      '/tmp',
      loop,
      'sh',
      '-c',
      'echo "$A" "$PWD"; read x',
    )
    expect(await wait(id)).toBe(1)
    expect((await logs(id)).stdout).toBe('b c /tmp\n')
  })

  it('should tell at once what cannot be run, and leave no job', async () => {
    const before = await jobs()
    const missing = await workspace.loopctl(['job', 'start', loop, 'no-such-program'])
    expect(missing.stderr).toContain('"no-such-program" was not found')
    expect(missing.code).toBe(127)
    expect((await workspace.loopctl(['job', 'start', loop, '/etc/passwd'])).code).toBe(126)
    expect((await workspace.loopctl(['job', 'start', '-w', '/nowhere', loop, 'true'])).code).toBe(126)
    expect(await jobs()).toEqual(before)
    expect(await workspace.ok('exec', loop, 'ls', '/loopat/run/job')).not.toContain('\n\n')
  })

  it('should go on while no daemon runs, and lose and double nothing', async () => {
    const counting = await shell(ENDLESS, '/tmp/enough')
    const short = await shell(COUNTER, '10')
    await killDaemon()
    // Nobody starts another one meanwhile.
    await sleep(1500)
    expect(await jobOf(short)).toMatchObject({ state: 'exited', exitCode: 7 })
    expect((await logs(short)).stdout).toBe(countTo(10))
    const seen = linesOf((await logs(counting)).stdout)
    expect(seen.length).toBeGreaterThan(15)
    const leases = await workspace.json<{ leases: { owner: string }[] }>('show', loop)
    expect(leases.leases.map(({ owner }) => owner)).toEqual(['job'])
    await touch('/tmp/enough')
    await killDaemon()
    expect(await wait(counting)).toBe(7)
    const { stdout } = await logs(counting)
    expect(linesOf(stdout).length).toBeGreaterThan(seen.length)
    expect(stdout).toBe(countTo(linesOf(stdout).length))
    expect(await workspace.json('show', loop)).toMatchObject({ leases: [] })
  })

  it('should be followed and waited for while daemons come and go', async () => {
    const id = await shell(ENDLESS, '/tmp/outlived')
    const following = workspace.loopctl(['job', 'logs', '-f', loop, id])
    const waiting = workspace.loopctl(['job', 'wait', loop, id])
    await sleep(500)
    await workspace.ok('daemon', 'restart')
    await sleep(500)
    await killDaemon()
    await workspace.ok('daemon', 'start')
    await sleep(500)
    await touch('/tmp/outlived')
    expect(await waiting).toEqual({ code: 7, stdout: '', stderr: '' })
    const { code, stdout, stderr } = await following
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(linesOf(stdout).length).toBeGreaterThan(20)
    expect(stdout).toBe(countTo(linesOf(stdout).length))
    expect((await logs(id)).stdout).toBe(stdout)
  })

  it('should follow a log until the job ends', async () => {
    const id = await shell(ENDLESS, '/tmp/followed')
    const following = workspace.spawn(['job', 'logs', '-f', loop, id], { stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = once(following, 'close')
    let text = ''
    following.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    await eventually('lines come while it runs', async () => text.split('\n').length > 3)
    expect((await jobOf(id))?.state).toBe('running')
    await touch('/tmp/followed')
    await closed
    expect(text).toBe(countTo(linesOf(text).length))
    expect((await logs(id)).stdout).toBe(text)
  })

  it('should keep the end of a long log, readable by offset', async () => {
    const id = await workspace.ok('job', 'start', '--max-log', '65536', loop, 'sh', '-c', 'seq 100000 200000')
    expect(await wait(id)).toBe(0)
    const total = 100_001 * 7
    const { stdout, stderr } = await logs(id)
    expect(stderr).toMatch(/^The first \d+ bytes of stdout are not kept any more\.\n$/)
    expect(stdout.length).toBeGreaterThan(40_000)
    expect(stdout.length).toBeLessThan(90_000)
    expect(stdout.endsWith('199999\n200000\n')).toBe(true)
    expect((await logs(id, '--stream', 'stdout', '--offset', `${total - 7}`)).stdout).toBe('200000\n')
    expect((await logs(id, '--tail', '14')).stdout).toBe('199999\n200000\n')
    expect(await logs(id, '--stream', 'stdout', '--offset', `${total}`)).toMatchObject({ code: 0, stdout: '' })
    const beyond = await logs(id, '--stream', 'stdout', '--offset', `${total + 1}`)
    expect(beyond.stderr).toContain(`offset ${total + 1} is beyond the end of stdout, which is ${total}`)
    expect(beyond.code).toBe(2)
  })

  it('should end a job that ignores TERM, with everything it started', async () => {
    const script = `trap "" TERM; sleep ${NAPS.stubborn} & (setsid sleep ${NAPS.stubborn} &); while :; do sleep ${NAPS.stubborn}; done`
    const id = await shell(script)
    await eventually('it runs', async () => (await processesWith(['sleep', NAPS.stubborn])).length === 3)
    const before = Date.now()
    expect(await workspace.ok('job', 'kill', loop, id)).toBe(id)
    expect(Date.now() - before).toBeGreaterThan(1900)
    expect(await jobOf(id)).toMatchObject({ state: 'exited', exitCode: 137, reason: 'it was killed by a client' })
    expect(await processesWith(['sleep', NAPS.stubborn])).toEqual([])
    const again = await workspace.loopctl(['job', 'kill', loop, id])
    expect(again.stderr).toContain('has ended with exit code 137')
    expect(again.code).toBe(4)
  })

  it('should send a signal alone', async () => {
    const id = await shell('trap "exit 5" USR1; echo ready; while :; do sleep 0.1; done')
    await eventually('it is ready', async () => (await logs(id)).stdout === 'ready\n')
    await workspace.ok('job', 'kill', '-s', 'USR1', loop, id)
    expect(await wait(id)).toBe(5)
  })

  it('should forget jobs', async () => {
    const id = await start('sleep', NAPS.forgotten)
    const refused = await workspace.loopctl(['job', 'rm', loop, id])
    expect(refused.code).toBe(4)
    expect(await workspace.ok('job', 'rm', '--force', loop, id)).toBe(id)
    expect(await processesWith(['sleep', NAPS.forgotten])).toEqual([])
    expect(await jobOf(id)).toBe(undefined)
    expect((await workspace.loopctl(['job', 'wait', loop, id])).code).toBe(125)
    expect((await logs(id)).code).toBe(3)
    expect(await workspace.ok('exec', loop, 'ls', '/loopat/run/job')).not.toContain(id)
  })

  it('should end jobs when the loop stops, and say so; their logs stay', async () => {
    const polite = await shell('trap "echo bye; exit 3" TERM; echo here; while :; do sleep 0.1; done')
    const loose = await workspace.ok('job', 'start', '--no-keepalive', loop, 'sleep', NAPS.loose)
    expect((await workspace.json<{ leases: unknown[] }>('show', loop)).leases).toHaveLength(1)
    await eventually('it is ready', async () => (await logs(polite)).stdout === 'here\n')
    await workspace.ok('stop', loop)
    expect(await jobOf(polite)).toMatchObject({ state: 'exited', exitCode: 3, reason: 'the loop was stopped' })
    expect(await jobOf(loose)).toMatchObject({ state: 'lost', exitCode: null, reason: 'the loop was stopped' })
    expect((await logs(polite)).stdout).toBe('here\nbye\n')
    const lost = await workspace.loopctl(['job', 'wait', loop, loose])
    expect({ code: lost.code, stderr: lost.stderr }).toEqual({
      code: 123,
      stderr: `job ${loose}: lost (the loop was stopped)\n`,
    })
    expect((await workspace.json<{ state: string }>('show', loop)).state).toBe('stopped')
  })

  it('should start a stopped loop first', async () => {
    expect((await workspace.loopctl(['job', 'start', '--no-start', loop, 'true'])).code).toBe(4)
    expect(await wait(await start('true'))).toBe(0)
  })

  it('should be lost when what runs it is killed inside, and other loops should not notice', async () => {
    const id = await start('sleep', NAPS.orphaned)
    // All but this shell, whose own words are like theirs.
    const all = `for p in $(grep -lE "control/job|${NAPS.orphaned}" /proc/[0-9]*/cmdline | cut -d/ -f3); do [ $p = $$ ] || kill -9 $p; done`
    await workspace.loopctl(['exec', loop, 'sh', '-c', all])
    const lost = await workspace.loopctl(['job', 'wait', loop, id])
    expect(lost.code).toBe(123)
    expect(await workspace.ok('exec', loop, 'echo', 'alive')).toBe('alive')
  })

  it('should read nothing outside of the loop, whatever the loop puts into the place of its records', async () => {
    const id = await start('sleep', '0.2')
    const directory = `/loopat/run/job/${id}`
    expect(await wait(id)).toBe(0)
    const inside = (script: string) => workspace.ok('exec', loop, 'sh', '-c', `cd ${directory}; rm -rf std*; ${script}`)
    for (const script of [
      'ln -s /etc/passwd stdout.0',
      'mkfifo stdout.0',
      'mkdir stdout.0',
      'touch stdout.99999999999999999999 stdout.-1 stdout.x',
      'cd ..; rm -r "$OLDPWD"; ln -s / "$OLDPWD"',
      `cd ..; rm -rf ${directory}; mkfifo ${directory}`,
    ]) {
      await inside(script)
      const { stdout, code } = await logs(id)
      expect({ script, stdout, isCode: code === 0 || code === 1 }).toEqual({ script, stdout: '', isCode: true })
      expect(await jobOf(id)).toMatchObject({ state: 'exited', exitCode: 0 })
      await workspace.ok('exec', loop, 'sh', '-c', `rm -rf ${directory}; mkdir ${directory}`)
    }
    await inside('mkdir deep; touch deep/file')
    expect(await workspace.ok('job', 'rm', loop, id)).toBe(id)
  })

  it('should leave nothing behind', async () => {
    for (const { id } of await jobs()) await workspace.ok('job', 'rm', '--force', loop, id)
    expect(await jobs()).toEqual([])
    for (const nap of Object.values(NAPS)) expect(await processesWith(['sleep', nap])).toEqual([])
  })
})
