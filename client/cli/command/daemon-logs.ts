import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import type { Context } from '../context.ts'
import { followLines, lastLines } from '../log-file.ts'
import { formatLogLine } from '../log-line.ts'

interface Options {
  readonly follow?: boolean
  readonly lines: number
  readonly json?: boolean
}

/** `loopctl daemon logs`: reads the file, so that it also tells why a daemon is gone. */
export function addLogsCommand(parent: Command, context: Context): void {
  parent
    .command('logs')
    .description('show the log of the daemon, whether it runs or not')
    .option('-f, --follow', 'go on with what is logged from now on, until interrupted')
    .option('-n, --lines <number>', 'how many of the latest lines', lineCount, 100)
    .option('--json', 'the lines as they are: one object each')
    .action((options: Options) => logs(options, context))
}

function lineCount(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

async function logs({ follow, lines, json }: Options, context: Context): Promise<void> {
  const path = join((await context.workspace()).home, 'log', 'loopatd.log')
  const { output } = context
  const print = (line: string) => {
    if (json) output.text(`${line}\n`)
    else output.text(formatLogLine(line, output.coloured))
  }
  const tail = await lastLines(path, lines)
  for (const line of tail.lines) print(line)
  if (follow) await followLines(path, { from: tail, onLine: print }, context.signal)
}
