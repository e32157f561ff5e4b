import type { Bed } from './bed.ts'
import { inTurn, type RowPlan, type Side, timed } from './contest.ts'
import { commandSide, timeToEnd } from './process.ts'

const group = 'exec'
const unit = 'ms'
/** The shortest command there is: the same inside, and on the host. */
const PROGRAM = '/bin/true'
const COMMAND = [PROGRAM]
const HOST = { program: PROGRAM, args: [] }

/** Does something once, or several times at once until the last is done. */
const atOnce = (count: number, action: () => Promise<unknown>) =>
  timed(() => Promise.all(Array.from({ length: count }, action)))

const podmanExec = (bed: Bed, count: number): Side[] =>
  bed.podmans.map(({ label, command }) =>
    commandSide(`podman exec (${label})`, command('exec', bed.loop.container, ...COMMAND), count),
  )

const connectionSide = ({ client, loop }: Bed, count: number): Side => ({
  label: 'one connection',
  sample: (signal) =>
    atOnce(count, async () => {
      const { exitCode } = await client.exec.run({ loop: loop.id, command: COMMAND }, { signal })
      if (exitCode !== 0) throw new Error(`exec/run: exit code ${exitCode}`)
    }),
})

const apiSide = ({ api, loop }: Bed, count: number): Side => ({
  label: 'API exec',
  sample: () => atOnce(count, () => api.exec(loop.container, COMMAND)),
})

const hostSide = (count: number): Side => ({
  label: 'host spawn',
  sample: (signal) => atOnce(count, () => timeToEnd(HOST, signal)),
})

const plans = [
  { count: 1, suffix: '', connection: 31, cli: 8 },
  { count: 8, suffix: ', 8 at once', connection: 9, cli: 3 },
  { count: 32, suffix: ', 32 at once', connection: 5, cli: 0 },
]

/** How long one command in a running loop takes, from the request to its exit code. */
export const exec: readonly RowPlan[] = plans.flatMap(({ count, suffix, connection, cli }): RowPlan[] => {
  const rows: RowPlan[] = [
    {
      group,
      name: `exec/run${suffix}`,
      unit,
      rounds: connection,
      prepare: async (bed) =>
        inTurn([connectionSide(bed, count), ...podmanExec(bed, count), apiSide(bed, count), hostSide(count)]),
    },
    {
      group,
      name: `loopctl exec${suffix}`,
      unit,
      rounds: cli,
      prepare: async (bed) =>
        inTurn([
          commandSide('loopctl', bed.loopctl('exec', bed.loop.id, '--', ...COMMAND), count),
          ...podmanExec(bed, count),
          apiSide(bed, count),
          hostSide(count),
        ]),
    },
  ]
  return rows.filter(({ rounds }) => rounds > 0)
})
