import { type Colour, paint } from './colour.ts'
import { printable } from './text.ts'

const LEVELS: Readonly<Record<string, Colour>> = {
  trace: 'dim',
  debug: 'dim',
  info: 'green',
  warn: 'yellow',
  error: 'red',
  fatal: 'red',
}

/** Fields that are said otherwise or not at all. */
const SAID: ReadonlySet<string> = new Set(['level', 'time', 'msg', 'pid', 'err', 'cause'])

/**
 * A line of the daemon's log for people: time, level, message, fields; below it where an error comes from.
 * @param line a line of JSON; anything else is shown as it is
 */
export function formatLogLine(line: string, coloured: boolean): string {
  const entry = parse(line)
  if (entry === undefined) return `${printable(line)}\n`
  const style = (colour: Colour, text: string) => (coloured ? paint(colour, text) : text)
  const level = text(entry.level)
  const fields = Object.entries(entry)
    .filter(([key]) => !SAID.has(key))
    .map(([key, value]) =>
      style('dim', printable(`${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)),
    )
  const head = [
    style('dim', printable(text(entry.time))),
    style(LEVELS[level] ?? 'dim', printable(level.toUpperCase().padEnd(5))),
    printable(text(entry.msg)),
    ...fields,
  ]
  return `${head.join(' ')}\n${[entry.err, entry.cause].map(stack).join('')}`
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function stack(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('stack' in error)) return ''
  const lines = text(error.stack).split('\n')
  return lines.map((line) => `      ${printable(line)}\n`).join('')
}
