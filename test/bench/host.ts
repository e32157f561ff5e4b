import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Bed } from './bed.ts'
import { inTurn, type RowPlan, type Side, timed } from './contest.ts'
import { follow, timeToOutput } from './process.ts'

const group = 'host command'
/** Commands in one sample, one after the other: what starts the script is then no matter. */
const TIMES = 20
const QUICK_TIMES = 3
/** Milliseconds between commands on terminals: people start them, one at a time. */
const REST_MS = 1000
const BYTES = 500_000_000
const QUICK_BYTES = 10_000_000

const many = (command: string, times: number) =>
  `i=0; while [ $i -lt ${times} ]; do ${command} || exit 1; i=$((i+1)); done`

/** A shell script that is timed from inside a loop. */
const inside = ({ client, loop }: Bed, label: string, script: string, value: (ms: number) => number): Side => ({
  label,
  sample: async (signal) =>
    value(
      await timed(async () => {
        const { exitCode, stderr } = await client.exec.run({ loop: loop.id, shell: script }, { signal })
        if (exitCode !== 0) throw new Error(`${label}: exit code ${exitCode}: ${stderr}`)
      }),
    ),
})

/** How long it takes until a command of a loop writes something. */
const firstByte = ({ client, loop }: Bed, label: string, command: string[]): Side => ({
  label,
  sample: async (signal) => {
    await setTimeout(REST_MS, undefined, { signal })
    const begin = performance.now()
    await using process = await client.exec.spawn({ loop: loop.id, command }, { signal })
    await once(process.stdout, 'readable')
    const value = performance.now() - begin
    process.stdout.resume()
    process.stderr.resume()
    const { exitCode } = await process.exit
    if (exitCode !== 0) throw new Error(`${label}: exit code ${exitCode}`)
    return value
  },
})

const outside = (label: string, script: string, value: (ms: number) => number): Side => ({
  label,
  sample: async (signal) => value((await follow({ program: 'sh', args: ['-c', script] }, signal)).end),
})

/** Grants for as long as a row takes. */
async function granted({ client, loop }: Bed, patterns: readonly string[]): Promise<() => Promise<void>> {
  for (const pattern of patterns) await client.host.grant({ loop: loop.id, pattern })
  return async () => {
    await client.host.revoke({ loop: loop.id })
  }
}

/** What a loop waits for when it runs a command of the host. */
export const host: readonly RowPlan[] = [
  {
    group,
    name: 'loopat-host true',
    unit: 'ms',
    rounds: 9,
    prepare: async (bed, { quick }) => {
      const times = quick ? QUICK_TIMES : TIMES
      const each = (ms: number) => ms / times
      const end = await granted(bed, ['true'])
      const sides: [Side, ...Side[]] = [
        inside(bed, 'from inside', many('loopat-host true', times), each),
        inside(bed, 'the same, inside', many('/bin/true', times), each),
        outside('host spawn', many('/bin/true', times), each),
      ]
      return inTurn(sides, { note: `${times} in a row`, end })
    },
  },
  {
    group,
    name: 'loopat-host on a terminal',
    unit: 'ms',
    rounds: 9,
    prepare: async (bed) => {
      const onTerminal = (command: string) => ['-qec', command, '/dev/null']
      const end = await granted(bed, ['printf x'])
      const sides: [Side, ...Side[]] = [
        firstByte(bed, 'from inside', ['script', ...onTerminal('loopat-host printf x')]),
        firstByte(bed, 'the same, inside', ['script', ...onTerminal('/usr/bin/printf x')]),
        {
          label: 'host spawn',
          sample: (signal) => timeToOutput({ program: 'script', args: onTerminal('/usr/bin/printf x') }, signal),
        },
      ]
      return inTurn(sides, {
        note: `to the first byte, ${REST_MS} ms after the one before; the terminal is made anew`,
        end,
      })
    },
  },
  {
    group,
    name: 'output',
    unit: 'MB/s',
    better: 'higher',
    rounds: 3,
    prepare: async (bed, { quick }) => {
      const bytes = quick ? QUICK_BYTES : BYTES
      const rate = (ms: number) => bytes / 1e3 / ms
      const counted = (program: string) => `test "$(${program} -c ${bytes} /dev/zero | wc -c)" = ${bytes}`
      const end = await granted(bed, [`head -c ${bytes} /dev/zero`])
      const sides: [Side, ...Side[]] = [
        inside(bed, 'from inside', counted('loopat-host head'), rate),
        inside(bed, 'the same, inside', counted('head'), rate),
        outside('host spawn', counted('head'), rate),
      ]
      return inTurn(sides, { note: `${bytes / 1e6} MB, all of it arrived`, end })
    },
  },
]
