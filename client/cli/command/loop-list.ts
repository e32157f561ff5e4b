import { type Command, Option } from 'commander'
import type { Context } from '../context.ts'
import { loopTable } from '../loop-table.ts'

interface Options {
  readonly all?: boolean
  readonly archived?: boolean
  readonly json?: boolean
}

/** `loopctl ls` */
export function configure(command: Command, context: Context): void {
  command
    .option('-a, --all', 'archived loops too')
    .addOption(new Option('--archived', 'only archived loops').conflicts('all'))
    .option('--json', 'an array of loops')
    .action((options: Options) => list(options, context))
}

async function list({ all, archived, json }: Options, context: Context): Promise<void> {
  const which = archived ? 'only' : all ? 'include' : 'exclude'
  const [{ loops }, idle] = await context.withClient((client) =>
    Promise.all([
      client.loop.list({ archived: which }, { signal: context.signal }),
      client.idle.list({ signal: context.signal }),
    ]),
  )
  const sleep = new Map(idle.loops.map(({ id, ...rest }) => [id, rest]))
  if (json) context.output.json(loops.map((loop) => ({ ...loop, idle: sleep.get(loop.id) ?? null })))
  else if (loops.length > 0) context.output.text(await loopTable(loops, sleep, context))
  else context.output.note(archived ? 'No loop is archived.' : 'No loops. Make one with: loopctl create TITLE')
}
