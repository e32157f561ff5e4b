import { connect, type LoopatEvent } from '@loopatd/client'
import { describe, expect, it } from 'vitest'
import type { LoopInfo } from '../../protocol/loop.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** The window of the loops in these tests, in milliseconds. */
const WINDOW = 4500

/** Subscribes, and reads what is there already. */
async function subscribe({ socket }: TestWorkspace, since?: string) {
  await using client = await connect({ socket })
  await using subscription = await client.event.subscribe(since === undefined ? {} : { since })
  const events: LoopatEvent[] = []
  const { cursor, gap } = subscription
  while (since !== undefined && events.at(-1)?.cursor !== cursor) {
    const { value } = await subscription.next()
    if (value !== undefined) events.push(value)
  }
  return { cursor, gap, events }
}

describe('sleep in a workspace of its own', () => {
  it('should go on where it was when the daemon is killed, with holds and windows, and leak nothing', async () => {
    await using own = await makeWorkspace({ config: 'idle.after = "1h"\n' })
    await own.ok('daemon', 'start')
    const [idle, used, held, job] = ['idle', 'used', 'held', 'job']
    await using before = await connect({ socket: own.socket })
    for (const name of [idle, used, held, job]) await before.loop.create({ name })
    await before.idle.hold({ loop: held, forMs: 3_600_000 })
    await own.ok('job', 'start', job, '--', 'sleep', '1000')
    for (const loop of [idle, used, held, job]) await before.idle.set({ loop, after: WINDOW })
    own.spawn(['exec', used, 'sleep', '1000'], { stdio: 'ignore' })
    await eventually('the command runs', async () => (await before.idle.why({ loop: used })).leases.length === 1)
    const { cursor } = await subscribe(own)
    process.kill(await own.daemonPid(), 'SIGKILL')
    await own.ok('daemon', 'start')
    await using after = await connect({ socket: own.socket })
    const leases = async (loop: string) => (await after.idle.why({ loop })).leases
    expect(await leases(held)).toMatchObject([{ owner: 'hold' }])
    expect(await leases(used)).toEqual([])
    expect(await leases(job)).toMatchObject([{ owner: 'job', reason: 'sleep 1000' }])
    const states = async () =>
      Object.fromEntries((await after.loop.list({})).loops.map((loop) => [loop.name, loop.state]))
    await eventually('what nobody uses sleeps', async () => {
      const { idle: first, used: second } = await states()
      return first === 'stopped' && second === 'stopped'
    })
    expect(await states()).toEqual({ idle: 'stopped', used: 'stopped', held: 'running', job: 'running' })
    const { gap, events } = await subscribe(own, cursor)
    expect(gap).toEqual({ missed: null, reason: 'daemon-restarted' })
    const changes = events.flatMap((event) => (event.kind === 'loop/changed' ? [event] : []))
    const slept = changes.filter(({ loop }) => loop.name === used && loop.state === 'stopped')
    expect(slept).toMatchObject([{ cause: { by: 'idle' } }])
  })

  it('should make room when more loops start than may run, and let all of them start', async () => {
    await using own = await makeWorkspace({ config: '[idle]\nmax_running = 2\nparallel_starts = 1\n' })
    const names = ['m1', 'm2', 'm3', 'm4']
    for (const name of names) await own.ok('create', '--name', name, '--no-start')
    const started = await own.loopctl(['start', ...names])
    expect(started).toMatchObject({ code: 0, stdout: names.map((name) => `${name}\n`).join('') })
    expect(started.stderr).toContain('in the queue')
    const running = async () => (await own.json<LoopInfo[]>('ls')).filter(({ state: is }) => is === 'running').length
    await eventually('two of them sleep', async () => (await running()) === 2)
    const { stdout } = await own.loopctl(['exec', 'm1', 'echo', 'awake'])
    expect(stdout).toBe('awake\n')
  })
})
