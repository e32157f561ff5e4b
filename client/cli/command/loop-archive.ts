import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { forEachLoop } from '../each.ts'
import { printChanged } from '../loop-changed.ts'

/** `loopctl archive` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop...>', 'loops to archive')
    .option('--json', 'an array of the loops')
    .action((loops: string[], options: { json?: boolean }) => archive(loops, options, context))
}

async function archive(loops: readonly string[], options: { json?: boolean }, context: Context): Promise<void> {
  await context.withClient(async (client) => {
    const changed = await forEachLoop(context, loops, (loop) =>
      client.loop.archive({ loop }, { signal: context.signal }),
    )
    printChanged(
      changed.map(({ loop }) => loop),
      options,
      context,
    )
  })
}
