import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { UsageError } from '../exit.ts'

interface Options {
  readonly title?: string
  readonly json?: boolean
}

/** `loopctl rename` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop>', 'loop to rename')
    .argument('[name]', 'new name')
    .option('--title <text>', 'new title')
    .option('--json', 'the loop as an object')
    .action((loop: string, name: string | undefined, options: Options) => rename({ loop, name, options }, context))
}

async function rename(
  { loop, name, options }: { loop: string; name: string | undefined; options: Options },
  context: Context,
): Promise<void> {
  const { title } = options
  if (name === undefined && title === undefined) {
    throw new UsageError('rename: a new name or --title is missing', 'Run: loopctl rename LOOP NAME')
  }
  const changes = { ...(name === undefined ? {} : { name }), ...(title === undefined ? {} : { title }) }
  const changed = await context.withClient((client) =>
    client.loop.rename({ loop, ...changes }, { signal: context.signal }),
  )
  if (options.json) context.output.json(changed.loop)
  else context.output.line(changed.loop.name)
}
