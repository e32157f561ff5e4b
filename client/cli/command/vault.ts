import { isUtf8 } from 'node:buffer'
import type { VaultInfo } from '@loopatd/protocol'
import { type Command, Option } from 'commander'
import type { Context } from '../context.ts'
import { UsageError } from '../exit.ts'
import { askSecret, readInput } from '../secret.ts'
import { type Cell, table } from '../table.ts'
import { count } from '../text.ts'

/** Most that is read of stdin, in bytes; the daemon knows the exact limits. */
const MAX_INPUT_BYTES = 1_048_576

interface Options {
  readonly home?: string
  readonly force?: boolean
  readonly json?: boolean
}

/** `loopctl vault` */
export function configure(command: Command, context: Context): void {
  command
    .command('ls')
    .description('list vaults')
    .option('--json', 'an array of vaults')
    .action((options: Options) => list(options, context))
  command
    .command('show')
    .description('show what is in a vault, without values')
    .argument('<vault>', 'vault to show')
    .option('--json', 'one object')
    .action((vault: string, options: Options) => show(vault, options, context))
  command
    .command('create')
    .description('create a vault')
    .argument('<vault>', 'name: letters, digits, "_", "." and "-"')
    .action((vault: string) => create(vault, context))
  command
    .command('set')
    .description('put a variable or a file into a vault; its value comes from stdin, or is asked for')
    .argument('<vault>', 'vault to change; "default" is created when it is missing')
    .argument('[name]', 'variable to set')
    .addOption(homeOption())
    .action((vault: string, name: string | undefined, options: Options) => set(vault, { name, options }, context))
  command
    .command('unset')
    .description('take a variable or a file out of a vault')
    .argument('<vault>', 'vault to change')
    .argument('[name]', 'variable to take out')
    .addOption(homeOption())
    .action((vault: string, name: string | undefined, options: Options) => unset(vault, { name, options }, context))
  command
    .command('rm')
    .description('remove a vault with everything in it')
    .argument('<vault>', 'vault to remove')
    .option('-f, --force', 'remove it although loops use it')
    .action((vault: string, options: Options) => remove(vault, options, context))
}

function homeOption(): Option {
  return new Option('--home <path>', 'a file below the home of loops, in place of a variable')
}

async function list({ json }: Options, context: Context): Promise<void> {
  const { vaults } = await context.withClient((client) => client.vault.list({ signal: context.signal }))
  if (json) {
    context.output.json(vaults)
    return
  }
  if (vaults.length === 0) {
    context.output.note('No vaults. Begin one with: loopctl vault set default NAME')
    return
  }
  const rows = vaults.map(({ name, env, home, loops }) => [
    name,
    ...[env, home, loops].map(({ length }) => `${length}`),
  ])
  context.output.text(await table(['VAULT', 'VARIABLES', 'HOME', 'LOOPS'], rows, context.output.coloured))
  for (const { name, warnings } of vaults) {
    if (warnings.length === 0) continue
    const entries = `${count(warnings.length, 'entry').replace(/ys$/, 'ies')}`
    context.output.note(`${name}: ${entries} not delivered. See: loopctl vault show ${name}`)
  }
}

async function show(name: string, { json }: Options, context: Context): Promise<void> {
  const { vault } = await context.withClient((client) => client.vault.show({ vault: name }, { signal: context.signal }))
  if (json) context.output.json(vault)
  else context.output.text(await table([], describe(vault), context.output.coloured))
}

function describe({ name, path, env, home, loops, warnings }: VaultInfo): Cell[][] {
  const rows: [string, string][] = [
    ['name', name],
    ['path', path],
    ...env.map((variable): [string, string] => ['variable', variable]),
    ...home.map((entry): [string, string] => ['home', `~/${entry.name}${entry.kind === 'directory' ? '/' : ''}`]),
    ...loops.map((loop): [string, string] => ['used by', loop]),
  ]
  const refused = warnings.map(({ entry, target, why }): Cell[] => [
    { text: 'not delivered', colour: 'yellow' },
    `${entry} ${why}${target === null ? '' : `: ${target}`}`,
  ])
  return [...rows.map(([label, value]): Cell[] => [{ text: label, colour: 'dim' }, value]), ...refused]
}

async function create(vault: string, context: Context): Promise<void> {
  const { created } = await context.withClient((client) => client.vault.create({ vault }, { signal: context.signal }))
  if (!created) context.output.note(`${vault} exists.`)
  context.output.line(vault)
}

/** What a command is to change. */
interface Wanted {
  readonly name: string | undefined
  readonly options: Options
}

async function set(vault: string, wanted: Wanted, context: Context): Promise<void> {
  const entry = entryOf('set', wanted)
  const value = 'env' in entry ? { value: await readValue(vault, entry.env, context) } : await readContent(context)
  await context.withClient((client) => client.vault.set({ vault, ...entry, ...value }, { signal: context.signal }))
}

async function unset(vault: string, wanted: Wanted, context: Context): Promise<void> {
  const entry = entryOf('unset', wanted)
  const { removed } = await context.withClient((client) =>
    client.vault.unset({ vault, ...entry }, { signal: context.signal }),
  )
  if (!removed) context.output.note(`${Object.values(entry).join('')} was not set.`)
}

async function remove(vault: string, { force }: Options, context: Context): Promise<void> {
  await context.withClient((client) =>
    client.vault.remove({ vault, force: force === true }, { signal: context.signal }),
  )
  context.output.line(vault)
}

/** @throws UsageError when there is not exactly one of the two */
function entryOf(command: string, { name, options }: Wanted): { env: string } | { home: string } {
  if (name !== undefined && options.home === undefined) return { env: name }
  if (name === undefined && options.home !== undefined) return { home: options.home.replace(/^~\//, '') }
  throw new UsageError(
    `vault ${command}: name either a variable or --home PATH`,
    `Run: loopctl vault ${command} --help`,
  )
}

async function readValue(vault: string, name: string, context: Context): Promise<string> {
  // A command line can be read by every user of the machine.
  if (name.includes('=')) {
    throw new UsageError(
      'vault set: values are not taken from the command line',
      'Give the name alone: the value comes from stdin, or is asked for.',
    )
  }
  if (context.stdin.isTTY === true) return await askSecret(context, `Value of ${name} in vault ${vault}`)
  const bytes = await readInput(context, MAX_INPUT_BYTES)
  if (bytes.length === 0) throw new UsageError('vault set: stdin is empty', `Run: loopctl vault unset ${vault} ${name}`)
  if (!isUtf8(bytes)) throw new UsageError('vault set: the value is no UTF-8 text', 'Put it into a file: --home PATH')
  return bytes.toString()
}

async function readContent(context: Context): Promise<{ content: string }> {
  if (context.stdin.isTTY === true) {
    throw new UsageError('vault set: a file comes from stdin', 'Run: loopctl vault set VAULT --home PATH <FILE')
  }
  return { content: (await readInput(context, MAX_INPUT_BYTES)).toString('base64') }
}
