import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { UsageError } from '../exit.ts'
import { readVariable } from '../variable.ts'

/** `loopctl env` */
export function configure(command: Command, context: Context): void {
  command
    .command('ls')
    .description('list the plain variables of a loop')
    .argument('<loop>', 'loop to look at')
    .option('--json', 'an object of names and values')
    .action((loop: string, options: { json?: boolean }) => list(loop, options, context))
  command
    .command('set')
    .description('set plain variables, from the next command on; secrets belong into a vault')
    .argument('<loop>', 'loop to change')
    .argument('<name=value...>', 'variables to set')
    .action((loop: string, words: string[]) => set(loop, words, context))
  command
    .command('unset')
    .description('take plain variables away, from the next command on')
    .argument('<loop>', 'loop to change')
    .argument('<name...>', 'variables to take away')
    .action((loop: string, names: string[]) => unset(loop, names, context))
}

async function list(loop: string, { json }: { json?: boolean }, context: Context): Promise<void> {
  const { env } = await context.withClient((client) => client.env.list({ loop }, { signal: context.signal }))
  if (json) context.output.json(env)
  else for (const [name, value] of Object.entries(env)) context.output.line(`${name}=${value}`)
}

async function set(loop: string, words: readonly string[], context: Context): Promise<void> {
  const env = Object.fromEntries(words.map(assignment))
  await context.withClient((client) => client.env.set({ loop, env }, { signal: context.signal }))
}

async function unset(loop: string, names: string[], context: Context): Promise<void> {
  await context.withClient((client) => client.env.unset({ loop, names }, { signal: context.signal }))
}

/** @throws UsageError */
function assignment(word: string): [string, string] {
  const variable = readVariable(word)
  if (variable?.value !== undefined) return [variable.name, variable.value]
  throw new UsageError(`env set: "${word}" is not NAME=VALUE`, 'A name has letters, digits and "_".')
}
