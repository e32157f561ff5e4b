import type { ResultOf } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { forEachLoop } from '../each.ts'
import { interactive } from '../interactive.ts'

/** `loopctl start` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop...>', 'loops to start')
    .option('--json', 'an array of the loops, each with what was done')
    .action((loops: string[], options: { json?: boolean }) => start(loops, options, context))
}

async function start(loops: readonly string[], options: { json?: boolean }, context: Context): Promise<void> {
  await context.withClient(async (client) => {
    const started = await forEachLoop(context, loops, (loop) =>
      client.loop.start(
        { loop, ...interactive(context) },
        { signal: context.signal, onProgress: (progress) => context.output.progress.update(progress) },
      ),
    )
    printStarted(started, options, context)
  })
}

/** Prints loops that were started or restarted: their names for scripts, what was done for people. */
export function printStarted(
  started: readonly ResultOf<'loop/start'>[],
  { json }: { json?: boolean },
  context: Context,
): void {
  if (json) {
    context.output.json(started.map(({ loop, action, reason }) => ({ ...loop, action, actionReason: reason })))
    return
  }
  for (const { loop, action, reason } of started) {
    if (action === 'none') context.output.note(`${loop.name} runs already`)
    if (reason !== null) context.output.note(`${loop.name}: its container was made anew, because ${reason}`)
    context.output.line(loop.name)
  }
}
