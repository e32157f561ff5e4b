import type { Bed } from './bed.ts'
import { inTurn, type RowPlan } from './contest.ts'
import { commandSide } from './process.ts'

const group = 'start-up'
const unit = 'ms'
const bare = (bed: Bed) => commandSide('node -e 0', bed.bareRuntime())

/** Commands that need no daemon, against the runtime that does nothing. */
const offline: RowPlan[] = [['version'], ['--help'], ['completion', 'bash']].map((words) => ({
  group,
  name: `loopctl ${words.join(' ')}`,
  unit,
  rounds: 15,
  prepare: async (bed) => inTurn([commandSide('loopctl', bed.loopctl(...words)), bare(bed)]),
}))

/** A command that connects, against the runtime that does nothing, and against podman's own list. */
const connecting: RowPlan[] = [1, 10, 100].map((known) => ({
  group,
  name: `loopctl ls, ${known} known`,
  unit,
  rounds: 12,
  known,
  prepare: async (bed) =>
    inTurn([
      commandSide('loopctl', bed.loopctl('ls')),
      bare(bed),
      ...bed.podmans.map(({ label, command }) => commandSide(`podman ps (${label})`, command('ps', '--all'))),
    ]),
}))

/** How long people wait for loopctl to begin. */
export const startUp: readonly RowPlan[] = [...offline, ...connecting]
