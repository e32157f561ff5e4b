import { type Colour, paint } from './colour.ts'
import { printable } from './text.ts'

/** A cell: text, or text with a colour. */
export type Cell = string | { readonly text: string; readonly colour: Colour }

interface Measured {
  readonly text: string
  readonly colour: Colour | undefined
  readonly width: number
}

/** Text of which every character takes one cell. */
const NARROW = /^[\x20-\x7e]*$/

/** Knowing how wide everything else is takes tables that take as long to load as the rest of a command. */
async function widthOf(text: string): Promise<number> {
  return NARROW.test(text) ? text.length : (await import('string-width')).default(text)
}

async function measure(cell: Cell): Promise<Measured> {
  const text = printable(typeof cell === 'string' ? cell : cell.text)
  return { text, colour: typeof cell === 'string' ? undefined : cell.colour, width: await widthOf(text) }
}

/**
 * Lays out rows in columns that are two spaces apart, measured in terminal cells. Cells are made printable.
 * @param head titles of the columns; none for a table without a head
 * @param coloured whether colours are written
 */
export async function table(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  coloured: boolean,
): Promise<string> {
  const titles = head.map((text): Cell => ({ text, colour: 'dim' }))
  const cells = await Promise.all(
    (head.length === 0 ? rows : [titles, ...rows]).map((row) => Promise.all(row.map(measure))),
  )
  const widths: number[] = []
  for (const row of cells) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.width)
  }
  return cells.map((row) => line(row, widths, coloured)).join('')
}

function line(row: readonly Measured[], widths: readonly number[], coloured: boolean): string {
  const last = row.length - 1
  const padded = row.map((cell, column) => {
    const text = coloured && cell.colour !== undefined ? paint(cell.colour, cell.text) : cell.text
    return column === last ? text : text + ' '.repeat((widths[column] ?? 0) - cell.width)
  })
  return `${padded.join('  ').trimEnd()}\n`
}
