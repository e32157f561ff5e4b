import type { ResultOf } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { type Cell, table } from '../table.ts'
import { addUpdateOptions, type UpdateOptions, wishesOf } from '../update-options.ts'

type Plan = ResultOf<'loop/plan'>

/** Effects in words. */
const EFFECTS = {
  live: 'live: from the next command on',
  'next-start': 'next start',
  recreate: 'recreate: a new container',
} as const satisfies Record<Plan['changes'][number]['effect'], string>

/** `loopctl plan` */
export function configure(command: Command, context: Context): void {
  command.argument('<loop>', 'name, id or beginning of an id')
  addUpdateOptions(command, context.cwd)
    .option('--json', 'the changes, why a recreation is due, and who uses the loop, as an object')
    .action((loop: string, options: UpdateOptions & { json?: boolean }) => plan(loop, options, context))
}

async function plan(loop: string, options: UpdateOptions & { json?: boolean }, context: Context): Promise<void> {
  const params = { loop, ...wishesOf(options) }
  const result = await context.withClient((client) => client.loop.plan(params, { signal: context.signal }))
  if (options.json) {
    context.output.json(result)
    return
  }
  await print(result, context)
}

async function print({ changes, due, users }: Plan, { output }: Context): Promise<void> {
  if (changes.length > 0) {
    const rows = changes.map(({ what, from, to, effect }): Cell[] => [
      what,
      from ?? '-',
      to ?? '-',
      effect === 'recreate' ? { text: EFFECTS[effect], colour: 'yellow' } : EFFECTS[effect],
    ])
    output.text(await table(['WHAT', 'FROM', 'TO', 'EFFECT'], rows, output.coloured))
  } else {
    output.note('Nothing differs.')
  }
  if (due !== null) output.note(`The next start makes the container anew in any case, because ${due}.`)
  for (const { owner, reason } of users) output.note(`A new container would end: ${owner} "${reason}"`)
}
