import type { LoopatClient } from '@loopatd/client'
import { type Command, InvalidArgumentError } from 'commander'
import type { Context } from '../context.ts'
import { forEachLoop } from '../each.ts'
import { printChanged } from '../loop-changed.ts'
import { chosen } from '../selection.ts'

interface Options {
  readonly all?: boolean
  readonly grace?: number
  readonly json?: boolean
}

/** `loopctl stop` */
export function configure(command: Command, context: Context): void {
  command
    .argument('[loop...]', 'loops to stop; home and workdir are kept')
    .option('--all', 'every loop of the workspace that runs')
    .option('--grace <seconds>', 'seconds between TERM and KILL (default: 5)', seconds)
    .option('--json', 'an array of the loops')
    .action((loops: string[], options: Options) => stop(loops, options, context))
}

function seconds(text: string): number {
  if (!/^\d{1,3}$/.test(text) || Number(text) > 600) throw new InvalidArgumentError('It must be 0 to 600 seconds.')
  return Number(text)
}

async function stop(named: readonly string[], options: Options, context: Context): Promise<void> {
  chosen(named, { name: '--all', given: options.all === true }, 'stop')
  await context.withClient(async (client) => {
    const loops = options.all ? await running(client, context.signal) : named
    const graceSeconds = options.grace === undefined ? {} : { graceSeconds: options.grace }
    const stopped = await forEachLoop(context, loops, (loop) =>
      client.loop.stop({ loop, ...graceSeconds }, { signal: context.signal }),
    )
    printChanged(
      stopped.map(({ loop }) => loop),
      options,
      context,
    )
  })
}

/** Ids of the loops that run or are about to. */
async function running(client: LoopatClient, signal: AbortSignal): Promise<string[]> {
  const { loops } = await client.loop.list({}, { signal })
  return loops.filter(({ state }) => state === 'running' || state === 'starting').map(({ id }) => id)
}
