import { residentBytes } from '../harness/workspace.ts'
import { inTurn, type RowPlan, type Side } from './contest.ts'
import { type Command, follow } from './process.ts'

/** Mebibytes of output. */
const MEBIBYTES = 1000
const QUICK_MEBIBYTES = 10
/** The same, where memory is looked at: 1 GB. */
const GROWTH_MEBIBYTES = 954

/** A side whose command writes this much, and somebody else counts it. */
function bulkSide(label: string, command: Command, mebibytes: number): Side {
  const counted = {
    program: 'sh',
    args: ['-c', '"$@" | wc -c', 'sh', command.program, ...command.args],
    env: command.env,
  }
  return {
    label,
    sample: async (signal) => {
      const { stdout, end } = await follow(counted, signal)
      const bytes = Number(stdout)
      if (bytes !== mebibytes * 2 ** 20) throw new Error(`${label}: ${bytes} bytes of ${mebibytes} MiB arrived`)
      return bytes / 1e6 / (end / 1000)
    },
  }
}

/** A flood of output, from the start of the command line to the last byte. */
export const bulk: readonly RowPlan[] = [
  {
    group: 'bulk output',
    name: 'loopctl exec',
    unit: 'MB/s',
    better: 'higher',
    rounds: 3,
    prepare: async (bed, { quick }) => {
      const mebibytes = quick ? QUICK_MEBIBYTES : MEBIBYTES
      const write = ['sh', '-c', `dd if=/dev/zero bs=1M count=${mebibytes} 2>/dev/null`]
      const { container, id } = bed.loop
      const sides: [Side, ...Side[]] = [
        bulkSide('loopctl', bed.loopctl('exec', id, '--', ...write), mebibytes),
        ...bed.podmans.map(({ label, command }) =>
          bulkSide(`podman exec (${label})`, command('exec', container, ...write), mebibytes),
        ),
      ]
      return inTurn(sides, { note: `${mebibytes} MiB, all of it arrived` })
    },
  },
  {
    group: 'bulk output',
    name: 'memory that 1 GB leaves behind',
    unit: 'MiB',
    rounds: 3,
    prepare: async (bed, { quick }) => {
      const mebibytes = quick ? QUICK_MEBIBYTES : GROWTH_MEBIBYTES
      const write = ['sh', '-c', `dd if=/dev/zero bs=1M count=${mebibytes} 2>/dev/null`]
      const { pid: daemon } = await bed.client.daemon.status()
      const growth = (label: string, pid: number, command: Command): Side => ({
        label,
        sample: async (signal) => {
          const before = await residentBytes(pid)
          await bulkSide(label, command, mebibytes).sample(signal)
          return ((await residentBytes(pid)) - before) / 2 ** 20
        },
      })
      const service = await bed.servicePid()
      const [remote] = bed.podmans.map(({ command }) => command('exec', bed.loop.container, ...write))
      return inTurn([
        growth('loopatd', daemon, bed.loopctl('exec', bed.loop.id, '--', ...write)),
        ...(remote === undefined ? [] : [growth('podman system service', service, remote)]),
      ])
    },
  },
]
