import type { ResultOf } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { addUpdateOptions, type UpdateOptions, wishesOf } from '../update-options.ts'

interface Options extends UpdateOptions {
  readonly fresh?: boolean
  readonly force?: boolean
  readonly whenIdle?: boolean
  readonly json?: boolean
}

/** What was done, in words. */
const ACTIONS = {
  none: 'nothing differs',
  noted: 'changed; no container had to make way',
  recreated: 'changed; it runs in a new container',
  deferred: 'changed; whoever uses it next, once it is idle, gets a new container',
} as const satisfies Record<ResultOf<'loop/update'>['action'], string>

/** `loopctl update` */
export function configure(command: Command, context: Context): void {
  command.argument('<loop>', 'name, id or beginning of an id')
  addUpdateOptions(command, context.cwd)
    .option('--fresh', 'make the container anew from its image, and drop what was changed in it')
    .option('--force', 'end what runs in the loop')
    .option('--when-idle', 'keep the container while it is used')
    .option('--json', 'the loop, the changes and what was done, as an object')
    .action((loop: string, options: Options) => update(loop, options, context))
}

async function update(loop: string, options: Options, context: Context): Promise<void> {
  const { fresh = false, force = false, whenIdle = false } = options
  const params = { loop, ...wishesOf(options), fresh, force, whenIdle }
  const result = await context.withClient((client) =>
    client.loop.update(params, {
      signal: context.signal,
      onProgress: (progress) => context.output.progress.update(progress),
    }),
  )
  if (options.json) {
    context.output.json(result)
    return
  }
  for (const { what, from, to } of result.changes) context.output.note(`${what}: ${from ?? '-'} → ${to ?? '-'}`)
  context.output.note(`${result.loop.name}: ${ACTIONS[result.action]}`)
  context.output.line(result.loop.name)
}
