import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type HostCommands, hostCommands } from '../harness/host-commands.ts'
import { skipsPodman } from '../harness/podman.ts'
import { eventually, processesWith } from '../harness/workspace.ts'

/** Milliseconds after which nothing may be left of a command whose reason to run is gone. */
const LEFT_MS = 5_000

describe.skipIf(skipsPodman())('what a loop has started on the host', () => {
  let host: HostCommands
  const loop = 'ends'
  let turn = 0
  /** A length of time that only one test sleeps. */
  let time: string

  beforeAll(async () => {
    host = await hostCommands({ image: 'sandbox' })
    await host.workspace.ok('create', loop)
    for (const pattern of ['tree *', 'wait *', 'both']) await host.workspace.ok('host', 'grant', loop, pattern)
  }, 600_000)
  afterAll(() => host[Symbol.asyncDispose](), 120_000)
  beforeEach(() => {
    turn += 1
    time = `4${process.pid}.${turn}5`
  })

  const running = async () => (await processesWith(['sleep', time])).length
  const nothingLeft = () => eventually('nothing is left', async () => (await running()) === 0, { ms: LEFT_MS })

  /** A tree of processes, one of which left the session. */
  async function start() {
    const outcome = host.inside(loop, `loopat-host tree ${time}`)
    await eventually('it runs', async () => (await running()) === 2)
    return outcome
  }

  it('should end when its caller is killed', async () => {
    const outcome = start()
    await eventually('it runs', async () => (await running()) === 2)
    await host.inside(
      loop,
      'pkill -KILL -f "loopat-host tree" || kill -9 $(grep -l "loopat-hos[t]" /proc/[0-9]*/cmdline | cut -d / -f 3)',
    )
    await nothingLeft()
    expect((await outcome).code).toBe(137)
    const end = (await host.log(loop)).at(-1)
    expect(end).toMatchObject({ event: 'end', reason: 'caller' })
  })

  it('should end with the command that called it', async () => {
    const outcome = host.workspace.loopctl(['exec', '--timeout', '2s', loop, '--', 'loopat-host', 'tree', time])
    await eventually('it runs', async () => (await running()) === 2)
    expect((await outcome).code).toBe(124)
    await nothingLeft()
  })

  it('should keep the loop awake, and end when it stops', async () => {
    const outcome = start()
    await eventually('it runs', async () => (await running()) === 2)
    expect(await host.workspace.ok('idle', 'why', loop)).toContain('host: tree')
    await host.workspace.ok('stop', loop)
    await nothingLeft()
    expect((await outcome).code).not.toBe(0)
  })

  it('should end when the daemon stops, and callers wait for the next one', async () => {
    const outcome = start()
    await eventually('it runs', async () => (await running()) === 2)
    await host.workspace.ok('daemon', 'stop')
    await nothingLeft()
    await outcome
    await host.workspace.ok('daemon', 'start')
    expect((await host.inside(loop, 'loopat-host both')).stdout).toBe('to stdout\n')
  })

  it('should end when the daemon is killed, and callers wait for the next one', async () => {
    const outcome = start()
    await eventually('it runs', async () => (await running()) === 2)
    const marker = `/tmp/waits-${turn}`
    const waits = `(until [ -e ${marker} ]; do sleep 0.1; done; loopat-host both >/tmp/both 2>&1; echo $? >>/tmp/both) & `
    await host.workspace.ok('job', 'start', loop, '--', 'sh', '-c', `${waits} wait`)
    process.kill(await host.workspace.daemonPid(), 'SIGKILL')
    await nothingLeft()
    await outcome
    // Nobody starts a daemon for it but us.
    const { id } = await host.workspace.json<{ id: string }>('show', loop)
    expect(id).toBeTruthy()
    await host.inside(loop, `touch ${marker}; sleep 1`)
    await eventually('the caller was served', async () =>
      (await host.inside(loop, 'cat /tmp/both')).stdout.endsWith('0\n'),
    )
    expect((await host.inside(loop, 'cat /tmp/both')).stdout).toContain('to stdout\n')
  })
})
