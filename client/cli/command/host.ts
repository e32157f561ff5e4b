import type { LoopatClient } from '@loopatd/client'
import type { GrantInfo, ResultOf } from '@loopatd/protocol'
import { type Command, InvalidArgumentError } from 'commander'
import type { Context } from '../context.ts'
import { configureGrant, configureRevoke } from '../host-grant.ts'
import { printHostLog } from '../host-log.ts'
import { approvalBlock, describeGrant, grantTable, noteGrant } from '../host-table.ts'
import { LoopNames } from '../loop-names.ts'
import { count, printable } from '../text.ts'

/** Declared names that one note tells. */
const MAX_DECLARED = 20

interface JsonOption {
  readonly json?: boolean
}

interface AnswerOptions extends JsonOption {
  readonly always?: boolean
}

interface LogOptions extends JsonOption {
  readonly follow?: boolean
  readonly lines?: number
}

/** `loopctl host` */
export function configure(command: Command, context: Context): void {
  configureGrant(command, context)
  configureRevoke(command, context)
  command
    .command('ls')
    .description('list what loops may run on the host, in the order in which it counts')
    .argument('[loop]', 'only what counts for this loop')
    .option('--json', 'one object: grants, declared names and faults')
    .action((loop: string | undefined, options: JsonOption) => list(loop, options, context))
  command
    .command('pending')
    .description('show commands that wait for an approval')
    .argument('[loop]', 'only those of this loop')
    .option('--json', 'an array of approvals')
    .action((loop: string | undefined, options: JsonOption) => pending(loop, options, context))
  answer(command, {
    name: 'approve',
    does: 'let a command that waits run',
    always: 'allow the same from now on',
  }).action((approval: string, options: AnswerOptions) => settle('approve', { approval, options }, context))
  answer(command, { name: 'deny', does: 'refuse a command that waits', always: 'deny the same from now on' }).action(
    (approval: string, options: AnswerOptions) => settle('deny', { approval, options }, context),
  )
  command
    .command('log')
    .description('print the log of host commands')
    .argument('[loop]', 'only those of this loop')
    .option('-f, --follow', 'go on until interrupted')
    .option('-n, --lines <number>', 'begin so many entries before the end, 1000 at most (default: 100)', wholeNumber)
    .option('--json', 'one object per line')
    .action((loop: string | undefined, options: LogOptions) => log(loop, options, context))
}

/** Adds `approve` or `deny`. */
function answer(command: Command, { name, does, always }: { name: string; does: string; always: string }): Command {
  return command
    .command(name)
    .description(`${does}; see: loopctl host pending`)
    .argument('<approval>', 'id of what waits')
    .option('--always', `${always}, exactly these arguments`)
    .option('--json', 'one object')
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1 on.')
  return Number(text)
}

async function list(loop: string | undefined, { json }: JsonOption, context: Context): Promise<void> {
  await context.withClient(async (client) => {
    const result = await client.host.list(loop === undefined ? {} : { loop }, { signal: context.signal })
    if (json) {
      context.output.json(result)
      return
    }
    const { grants, faults } = result
    if (grants.length > 0)
      context.output.text(await grantTable(grants, await namesOf(grants, client, context), context))
    else
      context.output.note("No grants: nothing may run on the host. Give one with: loopctl host grant LOOP 'COMMAND *'")
    for (const { id, fault } of grants) {
      if (fault !== null) context.output.note(`${id} lets nothing run: ${printable(fault)}`)
    }
    for (const { file, message } of faults) {
      context.output.note(`${printable(`${file}: ${message}`)} (what it said before stays in force)`)
    }
    if (loop !== undefined) noteDeclared(loop, result, context)
  })
}

async function namesOf(
  grants: readonly GrantInfo[],
  client: LoopatClient,
  context: Context,
): Promise<ReadonlyMap<string, string>> {
  const loops = new LoopNames(client, context)
  const names = new Map<string, string>()
  for (const { loop } of grants) if (loop !== null) names.set(loop, await loops.of(loop))
  return names
}

/** Names that the repository asks for and no grant mentions. It wrote them, so they are not trusted to be any. */
function noteDeclared(loop: string, { declared, grants }: ResultOf<'host/list'>, context: Context): void {
  const granted = new Set(grants.map(({ pattern }) => programOf(pattern)))
  const names = [...new Set(declared)].filter((name) => /^[\w.+-]+$/.test(name) && !granted.has(name))
  const [first] = names
  if (first === undefined) return
  const more = names.length - MAX_DECLARED
  const shown = `${names.slice(0, MAX_DECLARED).join(', ')}${more > 0 ? ` and ${count(more, 'more name')}` : ''}`
  context.output.note(
    `mise.toml of ${loop} asks for ${shown}. If that is what you want: loopctl host grant ${loop} '${first} *'`,
  )
}

/** Name of the program that a pattern is about. */
function programOf(pattern: string): string | undefined {
  return pattern
    .split(' ')[0]
    ?.replace(/['"\\]/g, '')
    .split('/')
    .at(-1)
}

async function pending(loop: string | undefined, { json }: JsonOption, context: Context): Promise<void> {
  const { approvals } = await context.withClient((client) =>
    client.host.pending(loop === undefined ? {} : { loop }, { signal: context.signal }),
  )
  if (json) context.output.json(approvals)
  else if (approvals.length === 0) context.output.note('Nothing waits for an approval.')
  else {
    const blocks = await Promise.all(approvals.map((approval) => approvalBlock(approval, context)))
    context.output.text(blocks.join('\n'))
  }
}

async function settle(
  verb: 'approve' | 'deny',
  { approval, options }: { approval: string; options: AnswerOptions },
  context: Context,
): Promise<void> {
  const params = { approval, ...(options.always === true ? { always: true } : {}) }
  const result = await context.withClient((client) => client.host[verb](params, { signal: context.signal }))
  const { id, loopName, command } = result.approval
  if (options.json) context.output.json(result)
  else {
    context.output.line(`${id}  ${verb === 'approve' ? 'approved' : 'denied'} for ${loopName}: ${command}`)
    if (result.grant !== null) context.output.line(`${result.grant.id}  ${describeGrant(result.grant)}`)
  }
  if (result.grant !== null) noteGrant(result.grant, context)
}

async function log(
  loop: string | undefined,
  { follow = false, json = false, lines }: LogOptions,
  context: Context,
): Promise<void> {
  await context.withClient((client) => printHostLog(client, { loop, lines, follow, json }, context))
}
