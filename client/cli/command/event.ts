import type { EventSubscription, LoopatEvent } from '@loopatd/client'
import type { ApprovalInfo, EventGap, EventKind } from '@loopatd/protocol'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Context } from '../context.ts'
import { describeJob } from '../job-table.ts'

const KINDS = [
  'daemon/changed',
  'host/approvalRequested',
  'host/approvalSettled',
  'image/progress',
  'job/changed',
  'loop/changed',
] as const satisfies readonly EventKind[]

interface Options {
  readonly kind?: EventKind[]
  readonly loop?: string
  readonly since?: string
  readonly json?: boolean
}

/** `loopctl events` */
export function configure(command: Command, context: Context): void {
  command
    .addOption(new Option('--kind <kind...>', 'only events of these kinds').choices(KINDS))
    .option('--loop <loop>', 'only events of this loop')
    .option('--since <cursor>', 'first those after this one: a `cursor` of an event, or its number', cursor)
    .option('--json', 'one object per line')
    .action((options: Options) => events(options, context))
}

function cursor(text: string): string {
  if (!/^(?:[0-9a-f]{8}:)?\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a cursor or a number.')
  return text
}

async function events({ kind, loop, since, json }: Options, context: Context): Promise<void> {
  const wanted = {
    ...(kind === undefined ? {} : { kinds: kind }),
    ...(loop === undefined ? {} : { loop }),
    ...(since === undefined ? {} : { since }),
  }
  await context.withClient(async (client) => {
    const subscription = await client.event.subscribe(wanted, { signal: context.signal })
    await print(subscription, json === true, context)
  })
}

async function print(subscription: EventSubscription, json: boolean, context: Context): Promise<void> {
  if (subscription.gap !== null) printGap(subscription.gap, json, context)
  context.signal.addEventListener('abort', () => void subscription.close(), { once: true })
  for await (const event of subscription) {
    if (json) context.output.jsonLine(event)
    else context.output.line(`${new Date(context.now()).toISOString()}  ${describe(event)}`)
  }
  context.signal.throwIfAborted()
}

const REASONS: Readonly<Record<EventGap['reason'], string>> = {
  'daemon-restarted': 'the daemon was restarted',
  'too-old': 'the daemon does not keep them for so long',
  'unknown-cursor': 'the daemon does not know that event',
}

/** Programs read it where the events would have been. */
function printGap(gap: EventGap, json: boolean, context: Context): void {
  if (json) context.output.jsonLine({ kind: 'gap', ...gap })
  else context.output.note(`Events are missing${gap.missed === null ? '' : ` (${gap.missed})`}: ${REASONS[gap.reason]}`)
}

function describe(event: LoopatEvent): string {
  switch (event.kind) {
    case 'daemon/changed':
      return `podman is ${event.engine.state}${event.engine.reason === null ? '' : `: ${event.engine.reason}`}`
    case 'host/approvalRequested':
      return describeRequest(event.approval)
    case 'host/approvalSettled':
      return `approval ${event.approval.id} of loop ${event.approval.loopName} ${event.outcome}: ${event.approval.command}`
    case 'image/progress':
      return `image ${event.tag} ${event.state}: ${event.progress.message}`
    case 'job/changed':
      return `job ${event.job.id} of loop ${event.job.loop} ${event.removed ? 'removed' : describeJob(event.job)}`
    case 'loop/changed':
      return `loop ${event.loop.name} ${event.removed ? 'removed' : event.loop.state}${causeOf(event)}`
  }
}

/** The command is the last word: whatever a loop has put into it, what comes before is ours. */
function describeRequest({ id, loopName, command, fullAccess }: ApprovalInfo): string {
  const mark = fullAccess ? ', with full access' : ''
  return `loop ${loopName} asks to run on the host${mark} (loopctl host approve ${id}): ${command}`
}

/** Why it woke or went to sleep; who asked for a removal goes without saying. */
function causeOf({ cause, removed }: Extract<LoopatEvent, { kind: 'loop/changed' }>): string {
  return cause === null || removed ? '' : ` (${cause.text})`
}
