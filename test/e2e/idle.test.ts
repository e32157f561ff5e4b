import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ResultOf } from '../../protocol/contract.ts'
import type { LoopInfo } from '../../protocol/loop.ts'
import { TestTerminal } from '../harness/pty.ts'
import { SleepWatch } from '../harness/sleep-watch.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** The window of the loops in these tests, in milliseconds. */
const WINDOW = 1500

describe.concurrent('sleep', () => {
  let workspace: TestWorkspace
  let watch: SleepWatch

  beforeAll(async () => {
    workspace = await makeWorkspace({ config: 'idle.after = "1h"\n' })
    await workspace.ok('daemon', 'start')
    watch = await SleepWatch.open(workspace)
  })
  afterAll(async () => {
    await watch[Symbol.asyncDispose]()
    await workspace[Symbol.asyncDispose]()
  })

  /** A running loop with the short window, which is kept awake for now. */
  async function make(name: string): Promise<string> {
    await workspace.ok('create', '--name', name)
    await watch.keep(name)
    await setWindow(name, WINDOW)
    return name
  }

  async function setWindow(loop: string, after: number | 'never'): Promise<void> {
    await workspace.ok('rpc', 'idle/set', JSON.stringify({ loop, after }))
  }

  const state = async (loop: string) => (await workspace.json<LoopInfo>('show', loop)).state
  const why = (loop: string) => workspace.json<ResultOf<'idle/why'>>('idle', 'why', loop)
  it('should come when nobody uses a loop, end all that runs inside, keep the rest, and end when it is touched', async () => {
    const loop = await make('plain')
    const { container } = await workspace.json<{ container: { id: string } }>('show', loop)
    await workspace.ok('exec', loop, 'sh', '-c', 'echo kept >~/note; sleep 1000 >/dev/null 2>&1 &')
    await watch.letGo(loop)
    await watch.onTime(loop, WINDOW)
    await eventually('it is stopped', async () => (await state(loop)) === 'stopped')
    for (const words of [
      ['exec', '--no-start', loop, 'true'],
      ['job', 'start', '--no-start', loop, 'true'],
    ]) {
      const { code, stderr } = await workspace.loopctl(words)
      expect(code, words.join(' ')).not.toBe(0)
      expect(stderr, words.join(' ')).toContain('is not running')
    }
    const shell = new TestTerminal(`'${workspace.program}' shell --no-start ${loop}`, workspace.env)
    await shell.expect(/is not running/)
    expect(await shell.exited).not.toBe(0)
    expect(await state(loop)).toBe('stopped')
    expect(await workspace.ok('exec', loop, 'sh', '-c', 'cat ~/note; ps | grep -c "[s]leep 1000" || :')).toBe('kept\n0')
    expect((await workspace.json<{ container: { id: string } }>('show', loop)).container.id).toBe(container.id)
  })

  it('should end for a job and for a shell, too', async () => {
    const [job, shell] = await Promise.all([make('woken-by-job'), make('woken-by-shell')])
    await watch.letGo(job, shell)
    await Promise.all([watch.asleep(job), watch.asleep(shell)])
    await workspace.ok('job', 'start', job, '--', 'sh', '-c', 'until [ -e ~/go ]; do sleep 0.1; done')
    const terminal = new TestTerminal(`'${workspace.program}' shell ${shell}; echo "(code $?)"`, workspace.env)
    await terminal.expect(/[$#] /)
    await Promise.all([watch.held(job, 'job'), watch.held(shell, 'terminal')])
    await workspace.ok('exec', job, 'touch', '/home/loopat/go')
    terminal.type('exit\r')
    await terminal.expect(/\(code 0\)/)
    await Promise.all([watch.onTime(job, WINDOW, 1), watch.onTime(shell, WINDOW, 1)])
    terminal.kill()
  })

  it('should wait for commands, however long they take, and say so', async () => {
    const loop = await make('busy')
    const running = workspace.loopctl(['exec', loop, 'sh', '-c', 'until [ -e ~/go ]; do sleep 0.1; done; echo done'])
    await watch.held(loop, 'exec')
    await watch.letGo(loop)
    await sleep(1.2 * WINDOW)
    expect(await why(loop)).toMatchObject({ leases: [{ owner: 'exec' }], next: { action: 'stay-awake' } })
    expect(await workspace.ok('ls')).toMatch(/^busy +running .* 1 lease /m)
    expect(watch.sleeps(loop)).toEqual([])
    await workspace.ok('exec', loop, 'touch', '/home/loopat/go')
    expect(await running).toMatchObject({ code: 0, stdout: 'done\n' })
    await watch.onTime(loop, WINDOW)
  })

  it('should come on time after the only shell was left, a client was killed, and commands failed (A-8)', async () => {
    const [shell, killed, failed] = await Promise.all([make('shell'), make('killed'), make('failed')])
    const terminal = new TestTerminal(`'${workspace.program}' shell ${shell}; echo "(code $?)"`, workspace.env)
    await terminal.expect(/[$#] /)
    const client = workspace.spawn(['exec', killed, 'sleep', '1000'], { stdio: 'ignore' })
    await watch.held(killed, 'exec')
    await watch.held(shell, 'terminal')
    await watch.letGo(shell, killed)
    await sleep(1.2 * WINDOW)
    expect([await state(shell), await state(killed)]).toEqual(['running', 'running'])
    terminal.type('exit\r')
    await terminal.expect(/\(code 0\)/)
    client.kill('SIGKILL')
    expect((await workspace.loopctl(['exec', failed, 'no-such-program'])).code).toBe(127)
    expect((await workspace.loopctl(['exec', '-w', '/nowhere', failed, 'true'])).code).not.toBe(0)
    expect(await watch.owners(failed)).toEqual([])
    await watch.letGo(failed)
    await Promise.all([watch.onTime(shell, WINDOW), watch.onTime(killed, WINDOW), watch.onTime(failed, WINDOW)])
    terminal.kill()
  })

  it('should wait for a hold and for a client that is connected', async () => {
    const [held, watched] = ['held', 'watched']
    for (const loop of [held, watched]) await workspace.ok('create', '--name', loop)
    const hold = await workspace.ok('idle', 'hold', held, '--for', '1h', '--reason', 'a long test')
    const client = await connect({ socket: workspace.socket })
    await client.idle.acquire({ loop: watched, reason: 'an editor' })
    expect((await why(watched)).leases).toMatchObject([{ owner: 'client', reason: 'an editor' }])
    for (const loop of [held, watched]) await setWindow(loop, WINDOW)
    await sleep(1.5 * WINDOW)
    expect((await why(held)).leases).toMatchObject([{ id: hold, owner: 'hold', reason: 'a long test' }])
    expect([await state(held), await state(watched)]).toEqual(['running', 'running'])
    await client.close()
    await workspace.ok('idle', 'release', held)
    await Promise.all([watch.onTime(held, WINDOW), watch.onTime(watched, WINDOW)])
    expect((await workspace.loopctl(['idle', 'release', held])).code).toBe(3)
  })
})
