import type { Units } from '@loopatd/client'
import type { ResultOf } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { type Cell, table } from '../table.ts'
import { age, bytes } from '../text.ts'
import { addInstallCommands } from './daemon-install.ts'
import { addLogsCommand } from './daemon-logs.ts'
import { stopBackground } from './daemon-stop.ts'

type Status = ResultOf<'daemon/status'>

/** `loopctl daemon`. Where the daemon is installed in systemd, that starts and stops it. */
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
    .description('stop and start the daemon, unless its configuration is wrong; loops keep running')
    .action(() => restart(context))
  addInstallCommands(command, context)
  addLogsCommand(command, context)
}

async function status({ json }: { json?: boolean }, context: Context): Promise<void> {
  const result = await context.withClient((client) => client.daemon.status({ signal: context.signal }), {
    start: false,
  })
  if (json) context.output.json(result)
  else context.output.text(await table([], describe(result, context.now()), context.output.coloured))
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
    ...warningOf(engine),
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

/** Podman may be up, and yet not the one that was chosen. */
function warningOf({ state, reason }: Status['engine']): [string, Cell][] {
  return state === 'up' && reason !== null ? [['', { text: reason, colour: 'yellow' }]] : []
}

async function start(context: Context): Promise<void> {
  const { pid } = await context.withClient((client) => client.daemon.status({ signal: context.signal }))
  context.output.line(String(pid))
}

/** The units that run the daemon, when systemd does. Loaded late: most commands do not ask. */
async function unitsThatRun(context: Context): Promise<Units | undefined> {
  const { installedUnits } = await import('@loopatd/client')
  return await installedUnits(await context.workspace(), context.env)
}

async function stop(context: Context): Promise<void> {
  const wasUnit = await stopUnits(context)
  if (!(await stopBackground(context)) && !wasUnit) context.output.note('No daemon runs.')
}

/** The socket, too: it would start the daemon again with the next client. @returns whether the service was active */
async function stopUnits(context: Context): Promise<boolean> {
  const units = await unitsThatRun(context)
  if (units === undefined) return false
  const { isActive, systemctl } = await import('@loopatd/client')
  const wasActive = await isActive(units.service, context.env)
  await systemctl(['stop', units.socket, units.service], context.env, context.signal)
  return wasActive
}

/** systemd keeps the socket meanwhile, so that no client is refused. */
async function restart(context: Context): Promise<void> {
  const { ensureStartable } = await import('../check-program.ts')
  await ensureStartable(context.env, context.signal)
  const units = await unitsThatRun(context)
  const { isActive, systemctl } = await import('@loopatd/client')
  if (units !== undefined && (await isActive(units.service, context.env))) {
    await systemctl(['restart', units.service], context.env, context.signal)
  } else {
    await stop(context)
  }
  await start(context)
}
