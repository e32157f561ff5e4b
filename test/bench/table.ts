import type { Report } from './bench.ts'
import type { Figure, Row } from './figure.ts'

const HEAD = ['', 'best', 'median', 'p95', 'against', 'best', 'median', 'p95', 'ratio', 'difference']

/** The report for people: one Markdown table, a line for each comparison. */
export function table({ host, rows, failed }: Report): string {
  const lines = [HEAD, ...rows.flatMap(linesOf)]
  const widths = HEAD.map((_head, column) => Math.max(3, ...lines.map((line) => line[column]?.length ?? 0)))
  // The two columns of names are read from the left, figures from the right.
  const isText = (column: number) => column === 0 || column === 4
  const cell = (text: string, column: number) =>
    isText(column) ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0)
  const [head = '', ...body] = lines.map((line) => `| ${line.map(cell).join(' | ')} |`)
  const rule = `|${widths.map((width, column) => `${'-'.repeat(width + 1)}${isText(column) ? '-' : ':'}`).join('|')}|`
  const notes = rows.flatMap(({ group, name, note }) => (note === null ? [] : [`${group}: ${name}: ${note}`]))
  const missing = failed.map((row) => `not measured: ${row}`)
  return [...describe(host), '', head, rule, ...body, '', ...notes, ...missing].join('\n')
}

function describe(host: Report['host']): string[] {
  const load = (values: readonly number[]) => values.map((value) => value.toFixed(2)).join(' ')
  return [
    `loopatd ${host.loopatd}, podman ${host.podman} (command line: ${host.podmanCommands.join(', ')}), Node.js ${host.node}`,
    `${host.cpus} processors, Linux ${host.kernel}, load average ${load(host.loadBefore)} before, ${load(host.loadAfter)} after`,
  ]
}

function linesOf(row: Row): string[][] {
  const { subject, unit } = row
  return row.against.map((other, index) => [
    ...(index === 0 ? [`${row.group}: ${row.name}`, ...amounts(subject, row)] : ['', '', '', '']),
    other.label,
    ...amounts(other, row),
    other.ratio === null ? '–' : `${other.ratio.toFixed(2)}×`,
    `${other.difference < 0 ? '−' : '+'}${amount(Math.abs(other.difference), unit)}`,
  ])
}

/** The best shows what is possible when the machine does nothing else; ratio and difference are those of the medians. */
function amounts({ best, median, p95 }: Figure, { unit }: Row): string[] {
  return [best, median, p95].map((value) => amount(value, unit))
}

function amount(value: number, unit: Row['unit']): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2
  return `${value.toFixed(digits)} ${unit}`
}
