import type { EventSubscription, LoopatEvent } from '@loopatd/client'
import type { EventKind } from '@loopatd/protocol'
import { type Command, Option } from 'commander'
import type { Context } from '../context.ts'
import { describeJob } from '../job-table.ts'

const KINDS = [
  'daemon/changed',
  'image/progress',
  'job/changed',
  'loop/changed',
] as const satisfies readonly EventKind[]

interface Options {
  readonly kind?: EventKind[]
  readonly loop?: string
  readonly json?: boolean
}

/** `loopctl events` */
export function configure(command: Command, context: Context): void {
  command
    .addOption(new Option('--kind <kind...>', 'only events of these kinds').choices(KINDS))
    .option('--loop <loop>', 'only events of this loop')
    .option('--json', 'one object per line')
    .action((options: Options) => events(options, context))
}

async function events({ kind, loop, json }: Options, context: Context): Promise<void> {
  const wanted = { ...(kind === undefined ? {} : { kinds: kind }), ...(loop === undefined ? {} : { loop }) }
  await context.withClient(async (client) => {
    const subscription = await client.event.subscribe(wanted, { signal: context.signal })
    await print(subscription, json === true, context)
  })
}

async function print(subscription: EventSubscription, json: boolean, context: Context): Promise<void> {
  context.signal.addEventListener('abort', () => void subscription.close(), { once: true })
  for await (const event of subscription) {
    if (json) context.output.jsonLine(event)
    else context.output.line(`${new Date(context.now()).toISOString()}  ${describe(event)}`)
  }
  context.signal.throwIfAborted()
}

function describe(event: LoopatEvent): string {
  switch (event.kind) {
    case 'daemon/changed':
      return `podman is ${event.engine.state}${event.engine.reason === null ? '' : `: ${event.engine.reason}`}`
    case 'image/progress':
      return `image ${event.tag} ${event.state}: ${event.progress.message}`
    case 'job/changed':
      return `job ${event.job.id} of loop ${event.job.loop} ${event.removed ? 'removed' : describeJob(event.job)}`
    case 'loop/changed':
      return `loop ${event.loop.name} ${event.removed ? 'removed' : event.loop.state}`
  }
}
