import type { ExecSpawnParams } from '@loopatd/client'
import { type Command, InvalidArgumentError } from 'commander'
import { UsageError } from './exit.ts'
import { readVariable } from './variable.ts'

/** Options that `exec`, `shell` and `job start` share. */
export interface CommandOptions {
  readonly workdir?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly start: boolean
}

/** Options that `exec` and `shell` share. */
export interface ExecOptions extends CommandOptions {
  readonly user?: string
}

/** Adds the options that `exec` and `shell` share. */
export function addExecOptions(command: Command): Command {
  return addCommandOptions(command.option('-u, --user <user>', 'user inside (default: the one whose files are yours)'))
}

/** Adds the options of everything that runs a command. */
export function addCommandOptions(command: Command): Command {
  return command
    .option('-w, --workdir <directory>', 'absolute directory inside (default: the workdir)')
    .option('-e, --env <name=value>', 'set a variable; a name alone takes its value from here; repeatable', variable)
    .option('--no-start', 'fail when the loop is stopped')
}

/**
 * The command without the `--` in front of it. An option of ours behind the loop would otherwise be taken for it.
 * @param name the command of loopctl
 * @throws UsageError
 */
export function wordsOf([first, ...rest]: readonly string[], name: string): readonly string[] {
  if (first === undefined || (first === '--' && rest.length === 0)) {
    throw new UsageError(`${name}: a command is missing`, `Run: loopctl ${name} --help`)
  }
  if (first === '--') return rest
  if (!first.startsWith('-')) return [first, ...rest]
  throw new UsageError(
    `${name}: options come before the loop: ${first}`,
    `Run: loopctl ${name} [options] LOOP -- COMMAND`,
  )
}

/** One `-e`, added to those before it. Undefined stands for "as it is here". */
function variable(
  text: string,
  before: Readonly<Record<string, string | undefined>> = {},
): Readonly<Record<string, string | undefined>> {
  const variable = readVariable(text)
  if (variable === undefined) throw new InvalidArgumentError('It must be NAME=VALUE or NAME.')
  return { ...before, [variable.name]: variable.value }
}

/**
 * Params of `exec/run` that the options stand for; what is run is not among them.
 * @param env environment of loopctl; a variable that it does not have is not set
 */
export function execParams(
  loop: string,
  { options, env }: { options: ExecOptions; env: Readonly<Record<string, string | undefined>> },
): ExecSpawnParams {
  const wanted = Object.entries(options.env ?? {}).flatMap(([name, value = env[name]]) =>
    value === undefined ? [] : [[name, value] as const],
  )
  return {
    loop,
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.workdir === undefined ? {} : { cwd: options.workdir }),
    ...(wanted.length === 0 ? {} : { env: Object.fromEntries(wanted) }),
    start: options.start,
  }
}
