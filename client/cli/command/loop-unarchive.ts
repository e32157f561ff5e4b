import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { forEachLoop } from '../each.ts'
import { printChanged } from '../loop-changed.ts'

/** `loopctl unarchive` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop...>', 'loops to unarchive')
    .option('--json', 'an array of the loops')
    .action((loops: string[], options: { json?: boolean }) => unarchive(loops, options, context))
}

async function unarchive(loops: readonly string[], options: { json?: boolean }, context: Context): Promise<void> {
  await context.withClient(async (client) => {
    const changed = await forEachLoop(context, loops, (loop) =>
      client.loop.unarchive({ loop }, { signal: context.signal }),
    )
    printChanged(
      changed.map(({ loop }) => loop),
      options,
      context,
    )
  })
}
