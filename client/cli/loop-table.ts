import type { LoopInfo, LoopState, ResultOf } from '@loopatd/protocol'
import { formatDuration } from '@loopatd/protocol/duration'
import type { Colour } from './colour.ts'
import type { Context } from './context.ts'
import { type Cell, table } from './table.ts'
import { age, count } from './text.ts'

/** Digits of an id that people see. */
export const SHORT_ID = 8

const COLOURS: Readonly<Record<LoopState, Colour>> = {
  created: 'dim',
  starting: 'yellow',
  running: 'green',
  stopping: 'yellow',
  stopped: 'dim',
  archived: 'dim',
  broken: 'red',
}

/** The state of a loop as a cell. */
export function stateCell(state: LoopState): Cell {
  return { text: state, colour: COLOURS[state] }
}

/** What keeps a loop awake, and when it sleeps. */
type Sleep = Omit<ResultOf<'idle/list'>['loops'][number], 'id'>

/** Loops as a table for people. @param sleep by id of the loop */
export function loopTable(
  loops: readonly LoopInfo[],
  sleep: ReadonlyMap<string, Sleep>,
  context: Context,
): Promise<string> {
  const now = context.now()
  const rows = loops.map((loop): Cell[] => [
    { text: loop.name, colour: 'bold' },
    stateCell(loop.state),
    loop.id.slice(0, SHORT_ID),
    age(loop.createdAt, now),
    sleepText(sleep.get(loop.id), now),
    loop.branch ?? '-',
    loop.reason === null ? loop.title : `${loop.title} (${loop.reason})`,
  ])
  return table(['NAME', 'STATE', 'ID', 'AGE', 'IDLE', 'BRANCH', 'TITLE'], rows, context.output.coloured)
}

/** `2 leases`, `sleeps in 12m`, `never`; `-` while it does not run. */
function sleepText(sleep: Sleep | undefined, now: number): string {
  if (sleep === undefined || sleep.next.action === 'asleep') return '-'
  if (sleep.leases > 0) return count(sleep.leases, 'lease')
  if (sleep.next.at === null) return 'never'
  return `sleeps in ${formatDuration(Math.max(0, Date.parse(sleep.next.at) - now))}`
}
