import { setTimeout as wait } from 'node:timers/promises'
import { IdleScheduler } from '../../daemon/idle/idle-scheduler.ts'
import { LeaseRegister } from '../../daemon/idle/lease.ts'
import { systemClock } from '../../daemon/lib/clock.ts'
import { eventually } from '../harness/workspace.ts'
import { type Bed, type BenchLoop, eachOf } from './bed.ts'
import { type Contest, inTurn, type RowPlan, type Side, timed } from './contest.ts'
import { commandSide, follow } from './process.ts'

const group = 'sleep'
/** Loops that wake at the same time. */
const WAKES = 20
/** Commands of which the slowest of a hundred is told, at least. */
const COMMANDS = 100
/** Running loops that a daemon finds when it is started. */
const ADOPTED = 50
/** Loops that are only known to a scheduler. */
const SIMULATED = 100_000

/** A stopped loop until the first output of a command in it, against what podman takes for the same. */
async function wake(bed: Bed): Promise<Contest> {
  const { client } = bed
  const { loops, end } = await bed.makeRunning(1)
  const [loop] = loops
  if (loop === undefined) throw new Error('no loop was made')
  const stop = () => client.loop.stop({ loop: loop.id, graceSeconds: 0 })
  const connection: Side = {
    label: 'exec/run',
    sample: async (signal) => {
      await stop()
      return await timed(() => client.exec.run({ loop: loop.id, command: ['echo', 'awake'] }, { signal }))
    },
  }
  const podman = bed.podmans.map(
    ({ label, command }): Side => ({
      label: `podman start + exec (${label})`,
      sample: async (signal) => {
        await stop()
        return await timed(async () => {
          await follow(command('start', loop.container), signal)
          await follow(command('exec', loop.container, 'echo', 'awake'), signal)
        })
      },
    }),
  )
  const loopctl = commandSide('loopctl exec', bed.loopctl('exec', loop.id, '--', 'echo', 'awake'))
  const cli: Side = {
    label: loopctl.label,
    sample: async (signal) => {
      await stop()
      return await loopctl.sample(signal)
    },
  }
  return inTurn([connection, cli, ...podman], { end })
}

/** Puts loops to sleep. */
async function stopAll({ client }: Bed, loops: readonly BenchLoop[]): Promise<void> {
  await eachOf(loops, ({ id }) => client.loop.stop({ loop: id, graceSeconds: 0 }))
}

/** Many that wake at once: until the last is awake, and until the first is; against one after the other. */
async function storm(bed: Bed): Promise<Contest> {
  const { client } = bed
  const { loops, end } = await bed.makeRunning(WAKES)
  const awaken = ({ id }: BenchLoop) => timed(() => client.exec.run({ loop: id, command: ['true'] }))
  const round = async (signal: AbortSignal) => {
    await stopAll(bed, loops)
    const begin = performance.now()
    const each = await Promise.all(loops.map(awaken))
    const all = performance.now() - begin
    await stopAll(bed, loops)
    const inTurnMs = await timed(async () => {
      for (const loop of loops) {
        signal.throwIfAborted()
        await awaken(loop)
      }
    })
    return [all, inTurnMs, Math.min(...each)]
  }
  return { labels: ['the last awake', 'one after the other', 'the first awake'], round, end }
}

/** How fast commands in a running loop are while others wake, against when nothing happens. */
async function disturbance(bed: Bed): Promise<Contest> {
  const { client, loop } = bed
  const { loops, end } = await bed.makeRunning(WAKES)
  const exec = () => timed(() => client.exec.run({ loop: loop.id, command: ['true'] }))
  /** The value that 99 of 100 commands are not slower than, while something goes on. */
  const p99 = async (isOver: () => boolean) => {
    const taken: number[] = []
    while (!isOver() || taken.length < COMMANDS) taken.push(await exec())
    return taken.sort((a, b) => a - b)[Math.ceil(taken.length * 0.99) - 1] ?? Number.NaN
  }
  const round = async () => {
    await stopAll(bed, loops)
    const quiet = await p99(() => true)
    let isAwake = false
    const waking = Promise.all(loops.map(({ id }) => client.loop.start({ loop: id }))).finally(() => {
      isAwake = true
    })
    const [busy] = await Promise.all([p99(() => isAwake), waking])
    return [busy, quiet]
  }
  return { labels: [`p99 while ${WAKES} wake`, 'p99 when all is quiet'], round, end }
}

/** A new daemon until it knows all that runs, against podman's own list of it. */
async function adoption(bed: Bed): Promise<Contest> {
  const { workspace, podmans } = bed
  const { end } = await bed.makeRunning(ADOPTED)
  const list = podmans[0]?.command('ps', '--all', '--no-trunc')
  if (list === undefined) throw new Error('there is no podman command')
  const round = async (signal: AbortSignal) => {
    await workspace.ok('daemon', 'stop')
    const ours = await timed(async () => {
      await workspace.ok('daemon', 'start')
      await eventually('all are adopted', async () => {
        const { loops: counted } = await workspace.json<{ loops: { running: number } }>('daemon', 'status')
        return counted.running >= ADOPTED
      })
    })
    await bed.reconnect()
    return [ours, await timed(() => follow(list, signal))]
  }
  return { labels: [`restart with ${ADOPTED} running`, 'podman ps'], round, end }
}

/** What one use of a loop costs the scheduler, with very many and with few loops known. */
async function timers(): Promise<Contest> {
  const sides = [SIMULATED, 100].map((count) => ({ count, ...simulated(count) }))
  const round = async () => {
    await wait(0)
    return sides.map(({ use }) => use())
  }
  const end = async () => {
    for (const { scheduler } of sides) await scheduler[Symbol.asyncDispose]()
  }
  return { labels: sides.map(({ count }) => `1000 uses, ${count} loops`), round, end }
}

function simulated(count: number) {
  const leases = new LeaseRegister(systemClock)
  const ignore = () => undefined
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore, child: () => log }
  const scheduler = new IdleScheduler({
    clock: systemClock,
    log,
    leases,
    windowOf: () => 3_600_000,
    idleSince: () => systemClock.monotonicMs(),
    onActivity: ignore,
    sleep: async () => 'kept' as const,
  })
  scheduler.begin()
  for (let index = 0; index < count; index += 1) scheduler.container(`loop-${index}`, 'run')
  const use = () => {
    const begin = performance.now()
    for (let index = 0; index < 1000; index += 1) {
      leases.acquire(`loop-${(index * 7919) % count}`, { owner: 'exec', reason: 'x' }).release()
    }
    return performance.now() - begin
  }
  return { scheduler, use }
}

/** Loops that wake, sleep and are found again. */
export const sleep: readonly RowPlan[] = [
  { group, name: 'wake on a command', unit: 'ms', rounds: 5, prepare: wake },
  { group, name: `${WAKES} wake at once`, unit: 'ms', rounds: 1, prepare: storm },
  { group, name: `commands while ${WAKES} wake`, unit: 'ms', rounds: 1, prepare: disturbance },
  { group, name: `timers of ${SIMULATED} loops`, unit: 'ms', rounds: 5, prepare: () => timers() },
  { group, name: `restart with ${ADOPTED} running`, unit: 'ms', rounds: 2, prepare: adoption },
]
