/** `loopctl host grant` and `loopctl host revoke`. */
import type { HostDecision } from '@loopatd/protocol'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Context } from './context.ts'
import { readSpan } from './duration.ts'
import { UsageError } from './exit.ts'
import { describeGrant, noteGrant } from './host-table.ts'
import { readVariable } from './variable.ts'

const PATTERN_HELP = `
A pattern is one word for your shell, so quote it. Its first word names the program, or is its absolute path. In the
others, * stands for any characters of one argument; alone, for one argument that is no option; alone at the end, for
any further arguments. Grants of the loop count before those of all loops and those of config.toml; of each the newest
first. The first that matches decides; what none matches is denied.

  loopctl host grant fix-login 'gh pr view *'            run it without a question
  loopctl host grant fix-login --ask 'gh pr create *'    ask each time: loopctl host pending
  loopctl host grant --all-loops --deny 'gh auth *'      never`

interface GrantOptions {
  readonly allLoops?: boolean
  readonly allow?: boolean
  readonly ask?: boolean
  readonly deny?: boolean
  readonly for?: number
  readonly env?: Readonly<Record<string, string>>
  readonly passEnv?: readonly string[]
  readonly fullAccess?: boolean
  readonly json?: boolean
}

interface RevokeOptions {
  readonly allLoops?: boolean
  readonly all?: boolean
}

/** Adds `grant`. */
export function configureGrant(command: Command, context: Context): void {
  command
    .command('grant')
    .description('say whether a loop may run a command on the host, from now on')
    .usage('[options] [loop] <pattern>')
    .argument('[loop]', 'loop that it is for; none with --all-loops')
    .argument('[pattern...]', "command and arguments as one word, such as 'gh pr view *'")
    // A pattern without quotes may have options; what to do about that is said here.
    .allowUnknownOption()
    .option('--all-loops', 'for every loop')
    .addOption(new Option('--allow', 'let it run (default)').conflicts(['ask', 'deny']))
    .addOption(new Option('--ask', 'let it run when somebody approves').conflicts(['allow', 'deny']))
    .addOption(new Option('--deny', 'never let it run').conflicts(['allow', 'ask', 'env', 'passEnv', 'fullAccess']))
    .option('--for <time>', 'end the grant, and what runs by it, after 30m, 2h, 7d...', readSpan)
    .option('--env <name=value>', 'give the command a variable; repeatable', assignment)
    .option('--pass-env <name>', 'give it a variable of the daemon; repeatable', variableName)
    .option('--full-access', 'yes, it may be a program that can run anything, such as git, ssh or a shell')
    .option('--json', 'the grant as one object')
    .addHelpText('after', PATTERN_HELP)
    .action((loop: string | undefined, pattern: readonly string[], options: GrantOptions) =>
      grant(loop === undefined ? [] : [loop, ...pattern], options, context),
    )
}

/** Adds `revoke`. */
export function configureRevoke(command: Command, context: Context): void {
  command
    .command('revoke')
    .description('take grants back, and end what runs by them')
    .argument('[loop]', 'loop that they are for; none with --all-loops')
    .argument('[grant...]', 'ids or patterns of grants')
    .option('--all-loops', 'grants for every loop')
    .option('--all', 'all grants of the loop, or with --all-loops all of those')
    .action((loop: string | undefined, grants: readonly string[], options: RevokeOptions) =>
      revoke(loop === undefined ? [] : [loop, ...grants], options, context),
    )
}

function assignment(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const variable = readVariable(text)
  if (variable?.value === undefined) throw new InvalidArgumentError('It must be NAME=VALUE.')
  return { ...before, [variable.name]: variable.value }
}

function variableName(text: string, before: readonly string[] = []): readonly string[] {
  const variable = readVariable(text)
  if (variable === undefined || variable.value !== undefined) throw new InvalidArgumentError('It must be a name.')
  return [...before, variable.name]
}

async function grant(words: readonly string[], options: GrantOptions, context: Context): Promise<void> {
  const { for: forMs, env, passEnv, fullAccess, json } = options
  const params = {
    ...grantTarget(words, options),
    decision: decisionOf(options),
    ...(forMs === undefined ? {} : { forMs }),
    ...(env === undefined ? {} : { env: { ...env } }),
    ...(passEnv === undefined ? {} : { passEnv: [...passEnv] }),
    ...(fullAccess === true ? { fullAccess } : {}),
  }
  const { grant } = await context.withClient((client) => client.host.grant(params, { signal: context.signal }))
  if (json) context.output.json(grant)
  else context.output.line(`${grant.id}  ${describeGrant(grant)}`)
  noteGrant(grant, context)
}

function decisionOf({ ask, deny }: GrantOptions): HostDecision {
  if (deny === true) return 'deny'
  return ask === true ? 'ask' : 'allow'
}

/** @throws UsageError */
function grantTarget(words: readonly string[], { allLoops = false }: GrantOptions): { loop?: string; pattern: string } {
  const [loop, pattern, ...more] = allLoops ? [undefined, ...words] : words
  const example = `loopctl host grant ${allLoops ? '--all-loops' : (loop ?? 'LOOP')} 'gh pr view *'`
  const option = strayOption(words, allLoops ? 0 : 1)
  if (option !== undefined) throw new UsageError(`unknown option '${option}'`, 'Run: loopctl host grant --help')
  if (pattern === undefined) {
    const missing = allLoops ? 'a pattern is missing' : 'name a loop, or give --all-loops, and a pattern'
    throw new UsageError(`host grant: ${missing}`, `Run: ${example}`)
  }
  if (more.length > 0) {
    const rule = allLoops ? 'no loop is named with --all-loops, and the pattern' : 'the pattern'
    throw new UsageError(`host grant: ${rule} must be one word for your shell`, `Quote it: ${example}`)
  }
  if (pattern.trim() === '') throw new UsageError('host grant: the pattern is empty', `Run: ${example}`)
  if (/\p{Cc}/u.test(pattern)) {
    throw new UsageError(
      'host grant: a pattern must not contain control characters',
      'Wait until a loop asks for the command, and run: loopctl host approve --always ID',
    )
  }
  return loop === undefined ? { pattern } : { loop, pattern }
}

/**
 * A word that is meant for us, but that we do not know. Behind a program without quotes it is meant for that.
 * @param program where the program is to stand
 */
function strayOption(words: readonly string[], program: number): string | undefined {
  const isOurs = (at: number) => at <= program || words.slice(0, at).some((word) => /\s/.test(word))
  return words.find((word, at) => word.startsWith('-') && isOurs(at))
}

async function revoke(words: readonly string[], options: RevokeOptions, context: Context): Promise<void> {
  const { loop, grants } = revokeTarget(words, options)
  const scope = loop === undefined ? {} : { loop }
  const wanted = grants.length === 0 ? [{}] : [...new Set(grants)].map((grant) => ({ grant }))
  await context.withClient(async (client) => {
    for (const one of wanted) {
      const { revoked } = await client.host.revoke({ ...scope, ...one }, { signal: context.signal })
      for (const grant of revoked) context.output.line(`${grant.id}  ${describeGrant(grant)}`)
      if (revoked.length === 0) context.output.note('There is no grant to take back.')
    }
  })
}

/** @throws UsageError */
function revokeTarget(
  words: readonly string[],
  { all = false, allLoops = false }: RevokeOptions,
): { loop: string | undefined; grants: readonly string[] } {
  const loop = allLoops ? undefined : words[0]
  const grants = allLoops ? words : words.slice(1)
  const target = allLoops ? '--all-loops' : (loop ?? 'LOOP')
  if (loop === undefined && !allLoops) {
    throw new UsageError('host revoke: name a loop, or give --all-loops', 'Run: loopctl host ls')
  }
  if (all && grants.length > 0) {
    throw new UsageError('host revoke: --all goes without grants', `Run: loopctl host revoke ${target} --all`)
  }
  if (!all && grants.length === 0) {
    throw new UsageError('host revoke: name a grant, or give --all', 'Run: loopctl host ls to see the grants')
  }
  return { loop, grants }
}
