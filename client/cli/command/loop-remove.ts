import type { LoopatClient } from '@loopatd/client'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { forEachLoop } from '../each.ts'
import { chosen } from '../selection.ts'

interface Options {
  readonly allArchived?: boolean
  readonly force?: boolean
  readonly keepBranch?: boolean
  readonly json?: boolean
}

/** `loopctl rm` */
export function configure(command: Command, context: Context): void {
  command
    .argument('[loop...]', 'loops to remove, with home and workdir')
    .option('--all-archived', 'every archived loop')
    .option('-f, --force', 'also with commits that are on no remote, or uncommitted files')
    .option('--keep-branch', 'keep the branches loop/* in the mirror of the repository')
    .option('--json', 'an array of ids, each with whether there was something to remove')
    .action((loops: string[], options: Options) => remove(loops, options, context))
}

async function remove(named: readonly string[], options: Options, context: Context): Promise<void> {
  chosen(named, { name: '--all-archived', given: options.allArchived === true }, 'rm')
  const how = { force: options.force === true, keepBranch: options.keepBranch === true }
  await context.withClient(async (client) => {
    const loops = options.allArchived ? await archived(client, context.signal) : named
    const removed = await forEachLoop(context, loops, async (loop) => ({
      loop,
      ...(await client.loop.remove(
        { loop, ...how },
        { signal: context.signal, onProgress: (progress) => context.output.progress.update(progress) },
      )),
    }))
    if (options.json) context.output.json(removed.map(({ id, removed: done }) => ({ id, removed: done })))
    else for (const entry of removed) print(entry, context)
  })
}

function print({ loop, removed }: { loop: string; removed: boolean }, { output }: Context): void {
  if (removed) output.line(loop)
  else output.note(`${loop} was removed before`)
}

async function archived(client: LoopatClient, signal: AbortSignal): Promise<string[]> {
  const { loops } = await client.loop.list({ archived: 'only' }, { signal })
  return loops.map(({ id }) => id)
}
