import type { IdleAfter, IdleWindow, ResultOf } from '@loopatd/protocol'
import { formatDuration } from '@loopatd/protocol/duration'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { readSpan } from '../duration.ts'
import { stateCell } from '../loop-table.ts'
import { type Cell, table } from '../table.ts'
import { age } from '../text.ts'

const FROM: Readonly<Record<IdleAfter['from'], string>> = {
  environment: 'LOOPAT_CONTAINER_IDLE_MS',
  loop: 'set for this loop',
  config: 'idle.after of the configuration',
  default: 'the default',
}

interface HoldOptions {
  readonly for: number
  readonly reason?: string
  readonly json?: boolean
}

/** `loopctl idle` */
export function configure(command: Command, context: Context): void {
  command
    .command('why')
    .description('tell what keeps a loop awake, and when it will sleep')
    .argument('<loop>', 'loop to look at')
    .option('--json', 'one object')
    .action((loop: string, options: { json?: boolean }) => why(loop, options, context))
  command
    .command('set')
    .description('set after how long without use a loop sleeps')
    .argument('<loop>', 'loop to change')
    .argument('<window>', 'such as 10m, 2h or 1h30m; `never`; or `default` for what the configuration says', window)
    .action((loop: string, after: IdleWindow | null) => set(loop, after, context))
  command
    .command('hold')
    .description('keep a loop awake for a while, whoever uses it')
    .argument('<loop>', 'loop to keep awake')
    .requiredOption('--for <time>', 'such as 90m, 2h or 3d', readSpan)
    .option('--reason <text>', 'why, for people')
    .option('--json', 'the hold as one object')
    .action((loop: string, options: HoldOptions) => hold(loop, options, context))
  command
    .command('release')
    .description('end holds of a loop')
    .argument('<loop>', 'loop to release')
    .argument('[hold]', 'id of the hold to end (default: all of the loop)')
    .action((loop: string, lease: string | undefined) => release(loop, lease, context))
}

function window(text: string): IdleWindow | null {
  if (text === 'never') return text
  return text === 'default' ? null : readSpan(text)
}

async function set(loop: string, after: IdleWindow | null, context: Context): Promise<void> {
  const result = await context.withClient((client) => client.idle.set({ loop, after }, { signal: context.signal }))
  context.output.line(describeAfter(result.after))
  if (result.after.from === 'environment') {
    context.output.note('LOOPAT_CONTAINER_IDLE_MS of the daemon comes before what is set for the loop.')
  }
}

async function hold(loop: string, options: HoldOptions, context: Context): Promise<void> {
  const reason = options.reason === undefined ? {} : { reason: options.reason }
  const result = await context.withClient((client) =>
    client.idle.hold({ loop, forMs: options.for, ...reason }, { signal: context.signal }),
  )
  if (options.json === true) context.output.json(result.hold)
  else context.output.line(result.hold.id)
}

async function release(loop: string, lease: string | undefined, context: Context): Promise<void> {
  await context.withClient((client) =>
    client.idle.release({ loop, ...(lease === undefined ? {} : { lease }) }, { signal: context.signal }),
  )
  context.output.line(loop)
}

async function why(loop: string, { json }: { json?: boolean }, context: Context): Promise<void> {
  const result = await context.withClient((client) => client.idle.why({ loop }, { signal: context.signal }))
  if (json) context.output.json(result)
  else context.output.text(await table([], describe(result, context.now()), context.output.coloured))
}

function describe(result: ResultOf<'idle/why'>, now: number): Cell[][] {
  const { loop, after, leases, lastActivity, next, failure } = result
  const rows: [string, Cell][] = [
    ['loop', { text: loop.name, colour: 'bold' }],
    ['state', stateCell(loop.state)],
    ['next', next.at === null ? next.because : `${next.because}, at ${next.at}`],
    ['sleeps after', describeAfter(after)],
    ...leases.map((lease): [string, string] => ['awake for', describeLease(lease, now)]),
  ]
  if (lastActivity !== null) {
    rows.push(['last activity', `${lastActivity.at} (${age(lastActivity.at, now)} ago): ${lastActivity.what}`])
  }
  if (failure !== null) {
    rows.push(['not stopped', `${failure.message} (attempt ${failure.attempts}, again at ${failure.retryAt})`])
  }
  return rows.map(([label, value]) => [{ text: label, colour: 'dim' }, value])
}

function describeAfter({ window: after, from }: IdleAfter): string {
  return `${after === 'never' ? 'never' : formatDuration(after)} (${FROM[from]})`
}

function describeLease({ id, owner, reason, since, expiresAt }: ResultOf<'idle/why'>['leases'][number], now: number) {
  const until = expiresAt === null ? '' : `, until ${expiresAt}`
  return `${owner}: ${reason} (since ${age(since, now)}${until}) ${id}`
}
