import type { LoopInfo, LoopState } from '@loopatd/protocol'
import type { Colour } from './colour.ts'
import type { Context } from './context.ts'
import { type Cell, table } from './table.ts'
import { age } from './text.ts'

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

/** Loops as a table for people. */
export function loopTable(loops: readonly LoopInfo[], context: Context): Promise<string> {
  const now = context.now()
  const rows = loops.map((loop): Cell[] => [
    { text: loop.name, colour: 'bold' },
    stateCell(loop.state),
    loop.id.slice(0, SHORT_ID),
    age(loop.createdAt, now),
    loop.branch ?? '-',
    loop.reason === null ? loop.title : `${loop.title} (${loop.reason})`,
  ])
  return table(['NAME', 'STATE', 'ID', 'AGE', 'BRANCH', 'TITLE'], rows, context.output.coloured)
}
