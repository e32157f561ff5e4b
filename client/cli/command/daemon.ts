import { setTimeout as sleep } from 'node:timers/promises'
import type { ResultOf } from '@loopatd/protocol'
import { isLoopatError, LoopatError } from '@loopatd/protocol/error'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { type Cell, table } from '../table.ts'
import { age, bytes } from '../text.ts'
import { addLogsCommand } from './daemon-logs.ts'

/** Longest time a daemon may take to leave: beyond its own drain deadline, in milliseconds. */
const STOP_MS = 60_000
/** Between two looks at whether it has left, in milliseconds. */
const POLL_MS = 50

type Status = ResultOf<'daemon/status'>

/** `loopctl daemon` */
export function configure(command: Command, context: Context): void {
  command
    .command('status')
    .description('show the daemon; starts none')
    .option('--json', 'one object')
    .action((options: { json?: boolean }) => status(options, context))
  command
    .command('start')
    .description('start the daemon unless it runs')
    .action(() => start(context))
  command
    .command('stop')
    .description('stop the daemon; loops keep running')
    .action(() => stop(context))
  command
    .command('restart')
    .description('stop and start the daemon; loops keep running')
    .action(async () => {
      await stop(context)
      await start(context)
    })
  addLogsCommand(command, context)
}

async function status({ json }: { json?: boolean }, context: Context): Promise<void> {
  const result = await context.withClient((client) => client.daemon.status({ signal: context.signal }), {
    start: false,
  })
  if (json) context.output.json(result)
  else context.output.text(table([], describe(result, context.now()), context.output.coloured))
}

function describe(status: Status, now: number): Cell[][] {
  const { engine, loops, storage } = status
  const podman: Cell =
    engine.state === 'up' ? (engine.version ?? 'up') : { text: `down: ${engine.reason ?? ''}`, colour: 'red' }
  const rows: [string, Cell][] = [
    ['pid', String(status.pid)],
    ['version', `${status.version}, protocol ${status.protocolVersion}`],
    ['workspace', status.workspace],
    ['home', status.home],
    ['socket', status.socket],
    ['log', status.log],
    ['up for', age(status.startedAt, now)],
    ['podman', podman],
    ['podman socket', `${engine.socket ?? '-'}${engine.owned ? ' (our own service)' : ''}`],
    ['storage', storage.writable ? 'writable' : { text: `read-only: ${storage.reason ?? ''}`, colour: 'red' }],
    [
      'loops',
      `${loops.total}: ${loops.running} running, ${loops.archived} archived${loops.broken > 0 ? `, ${loops.broken} broken` : ''}`,
    ],
    ['clients', String(status.clients)],
    ['leases', String(status.leases)],
    ['memory', bytes(status.memoryBytes)],
  ]
  return rows.map(([label, value]) => [{ text: label, colour: 'dim' }, value])
}

async function start(context: Context): Promise<void> {
  const { pid } = await context.withClient((client) => client.daemon.status({ signal: context.signal }))
  context.output.line(String(pid))
}

/** Stops the daemon and waits until its process is gone: only then may another have the workspace. */
async function stop(context: Context): Promise<void> {
  const pid = await askToStop(context)
  if (pid === undefined) {
    context.output.note('No daemon runs.')
    return
  }
  const deadline = performance.now() + STOP_MS
  while (isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new LoopatError('daemon_unreachable', `the daemon (pid ${pid}) does not end`, {
        next: `See what it waits for with: loopctl daemon logs; end it with: kill -9 ${pid}`,
      })
    }
    await sleep(POLL_MS, undefined, { signal: context.signal })
  }
}

/** @returns the process that has been asked, or undefined when no daemon runs */
async function askToStop(context: Context): Promise<number | undefined> {
  const { signal } = context
  let pid: number | undefined
  try {
    await context.withClient(
      async (client) => {
        pid = (await client.daemon.status({ signal })).pid
        await client.daemon.shutdown({ signal })
      },
      { start: false },
    )
  } catch (error) {
    // One that leaves before it has answered does what it was asked for.
    if (!isLoopatError(error, 'daemon_unreachable')) throw error
  }
  return pid
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}
