import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { forEachLoop } from '../each.ts'
import { interactive } from '../interactive.ts'
import { printStarted } from './loop-start.ts'

/** `loopctl restart` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop...>', 'loops to stop and start; what runs in them is ended')
    .option('--json', 'an array of the loops, each with what was done')
    .action((loops: string[], options: { json?: boolean }) => restart(loops, options, context))
}

async function restart(loops: readonly string[], options: { json?: boolean }, context: Context): Promise<void> {
  await context.withClient(async (client) => {
    const started = await forEachLoop(context, loops, (loop) =>
      client.loop.restart(
        { loop, ...interactive(context) },
        { signal: context.signal, onProgress: (progress) => context.output.progress.update(progress) },
      ),
    )
    printStarted(started, options, context)
  })
}
