import { createInterface } from 'node:readline/promises'
import { findDaemon, isInstalled, unitsOf } from '@loopatd/client'
import type { ResultOf, UninstallPlan, UninstallResource, UninstallVerdict } from '@loopatd/protocol'
import { EXIT, isLoopatError, LoopatError } from '@loopatd/protocol/error'
import type { Command } from 'commander'
import { paint } from '../colour.ts'
import type { Context } from '../context.ts'
import { count, printable } from '../text.ts'
import { askUninstall } from '../uninstall-program.ts'
import { removeInstallation } from './daemon-install.ts'
import { stopBackground } from './daemon-stop.ts'

interface Options {
  readonly yes?: boolean
  readonly json?: boolean
}

/** `loopctl uninstall` */
export function configure(command: Command, context: Context): void {
  command
    .option('-y, --yes', 'do not ask')
    .option('--json', 'one object: the plan, and what became of each thing')
    .addHelpText(
      'after',
      `
Removes the workspace of LOOPAT_HOME: its containers, images and networks in podman, its daemon, and its home with every
loop, mirror and log. What belongs to another workspace stays. The programs stay too: npm uninstall --global removes them.`,
    )
    .action((options: Options) => uninstall(options, context))
}

async function uninstall({ yes, json }: Options, context: Context): Promise<void> {
  const { output } = context
  await refuseBusy(context)
  const plan = await findPlan(context)
  const units = await installedUnits(context)
  if (!json) output.text(describePlan(plan, units))
  const nothing = plan.resources.length === 0 && units.length === 0
  const goOn = !nothing && (yes === true || (await confirm(context)))
  const verdicts = goOn ? await remove(context, { json: json === true }) : []
  if (json) output.json({ plan, units, confirmed: goOn, verdicts })
  if (nothing) return
  if (!goOn) output.note('Nothing was removed.')
  const left = verdicts.filter(({ removed }) => !removed).length
  if (left > 0) output.note(`${count(left, 'thing')} could not be removed.`)
  if (!goOn || left > 0 || plan.kept.length > 0) context.exitCode = EXIT.failure.code
}

/** A daemon that nobody uses may be stopped; loops that merely run are not use. @throws LoopatError `already_running` */
async function refuseBusy(context: Context): Promise<void> {
  const status = await daemonStatus(context)
  if (status === undefined) return
  const others = status.clients - 1
  if (others === 0 && status.leases === 0) return
  throw new LoopatError(
    'already_running',
    `the daemon of ${status.home} is in use: ${count(others, 'other connection')}, ${count(status.leases, 'command')} in loops`,
    { next: 'End what uses it, or stop it: loopctl daemon stop' },
  )
}

async function daemonStatus(context: Context): Promise<ResultOf<'daemon/status'> | undefined> {
  try {
    return await context.withClient((client) => client.daemon.status({ signal: context.signal }), { start: false })
  } catch (error) {
    if (isLoopatError(error, 'daemon_unreachable')) return undefined
    throw error
  }
}

function program({ env }: Context, onlyPlan: boolean) {
  const loopatd = findDaemon(env)
  if (loopatd !== undefined) return { loopatd, env, onlyPlan }
  throw new LoopatError('config_invalid', 'the program loopatd is not found, which knows what is to be removed', {
    next: 'Install @loopatd/daemon, or set LOOPATD to the path of loopatd.',
  })
}

async function findPlan(context: Context): Promise<UninstallPlan> {
  for await (const line of askUninstall(program(context, true), context.signal)) if ('plan' in line) return line.plan
  throw new LoopatError('internal', 'loopatd told no plan')
}

/** Units of systemd that run the daemon of this workspace. */
async function installedUnits(context: Context): Promise<string[]> {
  const units = unitsOf(await context.workspace(), context.env)
  return isInstalled(units) ? [units.service, units.socket] : []
}

/** Asks people; nobody else can say yes without `--yes`. */
async function confirm({ stdin, stderr, output, signal }: Context): Promise<boolean> {
  if (stdin.isTTY !== true || stderr.isTTY !== true) {
    output.note('Nobody can be asked here: confirm with --yes.')
    return false
  }
  const lines = createInterface({ input: stdin, output: stderr })
  try {
    const answer = await lines.question('Remove all this for good? [y/N] ', { signal })
    return /^y(es)?$/i.test(answer.trim())
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw error
  } finally {
    lines.close()
  }
}

async function remove(context: Context, { json }: { readonly json: boolean }): Promise<UninstallVerdict[]> {
  // Somebody may have come while the question stood there.
  await refuseBusy(context)
  if ((await installedUnits(context)).length > 0) await removeInstallation(context)
  await stopBackground(context)
  const verdicts: UninstallVerdict[] = []
  for await (const line of askUninstall(program(context, false), context.signal)) {
    if (!('verdict' in line)) continue
    verdicts.push(line.verdict)
    if (!json) context.output.text(describeVerdict(line.verdict, context.output.coloured))
  }
  return verdicts
}

function describePlan(plan: UninstallPlan, units: readonly string[]): string {
  const { workspace, home, resources, kept, noPodman } = plan
  const vaults = plan.vaults > 0 ? `, ${count(plan.vaults, 'vault')} of credentials` : ''
  const files = `${count(plan.loops, 'loop')}, ${count(plan.mirrors, 'mirror')}${vaults}`
  const lines = [`workspace ${workspace}: ${files} in ${home}`]
  if (noPodman !== null) lines.push(`not looked for in podman: ${noPodman}`)
  if (resources.length === 0 && units.length === 0) lines.push('there is nothing to remove')
  for (const unit of units) lines.push(`  ${'unit'.padEnd(WIDTH)}${unit}`)
  for (const resource of resources) lines.push(`  ${describeResource(resource)}`)
  for (const path of kept) lines.push(`  ${'stays'.padEnd(WIDTH)}${path}, which is not loopat's`)
  return lines.map((line) => `${printable(line)}\n`).join('')
}

/** Cells of the column that says what a thing is. */
const WIDTH = 11

function describeResource({ kind, name }: UninstallResource): string {
  return `${kind.padEnd(WIDTH)}${name}`
}

function describeVerdict(verdict: UninstallVerdict, coloured: boolean): string {
  const text = printable(describeResource(verdict))
  if (verdict.removed) return `removed  ${text}\n`
  const mark = coloured ? paint('red', 'FAILED') : 'FAILED'
  return `${mark}   ${text}: ${printable(verdict.reason ?? '')}\n`
}
