import type { ResultOf } from '@loopatd/protocol'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { stateCell } from '../loop-table.ts'
import { type Cell, table } from '../table.ts'
import { age } from '../text.ts'

/** `loopctl show` */
export function configure(command: Command, context: Context): void {
  command
    .argument('<loop>', 'name, id or beginning of an id')
    .option('--json', 'one object')
    .action((loop: string, options: { json?: boolean }) => show(loop, options, context))
}

async function show(ref: string, { json }: { json?: boolean }, context: Context): Promise<void> {
  const result = await context.withClient((client) => client.loop.get({ loop: ref }, { signal: context.signal }))
  if (json) {
    const { loop, ...rest } = result
    context.output.json({ ...loop, ...rest })
    return
  }
  context.output.text(await table([], describe(result, context.now()), context.output.coloured))
}

function describe({ loop, container, leases, paths, recreation }: ResultOf<'loop/get'>, now: number): Cell[][] {
  const ago = (time: string | null) => (time === null ? null : `${time} (${age(time, now)} ago)`)
  const rows: [string, Cell | null][] = [
    ['name', { text: loop.name, colour: 'bold' }],
    ['id', loop.id],
    ['title', loop.title],
    ['state', stateCell(loop.state)],
    ['reason', loop.reason],
    ['created', ago(loop.createdAt)],
    ['created by', loop.user],
    ['started', ago(loop.startedAt)],
    ['archived', ago(loop.archivedAt)],
    ['address', loop.address],
    ['repository', loop.repo?.source ?? null],
    ['branch', loop.branch],
    ['image', loop.image],
    ['vault', loop.vault],
    ['container', container.name],
    ['made anew', remade(recreation.last, now)],
    ['next start', recreation.due === null ? null : `makes the container anew: ${recreation.due}`],
    ['workdir', paths.workdir],
    ['home', paths.home],
    ...leases.map((lease): [string, string] => ['in use by', `${lease.owner}: ${lease.reason}`]),
  ]
  return rows.flatMap(([label, value]) => (value === null ? [] : [[{ text: label, colour: 'dim' }, value]]))
}

function remade(last: ResultOf<'loop/get'>['recreation']['last'], now: number): string | null {
  return last === null ? null : `${last.at} (${age(last.at, now)} ago): ${last.reason}`
}
