import { writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { bench } from './bench.ts'
import { table } from './table.ts'

/** The program behind `npm run bench`; called with the words of the command line. */
export async function main(words: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      // The file belongs to whoever called, this process perhaps to somebody else: it gets the open file.
      'json-fd': { type: 'string' },
    },
  })
  const end = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => end.abort(new Error(`ended by ${name}`)))
  const only = values.only === undefined ? undefined : new RegExp(values.only, 'i')
  const progress = (line: string) => void process.stderr.write(`bench: ${line}\n`)
  const report = await bench({ quick: values.quick, only, progress }, end.signal).catch((error: unknown) => {
    if (!end.signal.aborted) throw error
    progress(String(error))
  })
  if (report === undefined) {
    process.exitCode = 130
    return
  }
  process.stdout.write(`${table(report)}\n`)
  if (report.failed.length > 0) process.exitCode = 1
  if (values['json-fd'] !== undefined) writeSync(Number(values['json-fd']), `${JSON.stringify(report, undefined, 2)}\n`)
}
