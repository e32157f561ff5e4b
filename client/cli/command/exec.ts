import { type Command, Option } from 'commander'
import { attach } from '../attach.ts'
import type { Context } from '../context.ts'
import { addExecOptions, type ExecOptions, execParams } from '../exec-options.ts'
import { UsageError } from '../exit.ts'

interface Options extends ExecOptions {
  readonly interactive?: boolean
  readonly stdin: boolean
}

/** `loopctl exec` */
export function configure(command: Command, context: Context): void {
  command
    .usage('[options] <loop> [--] <command> [arguments...]')
    .argument('<loop>', 'loop to run it in; it is started when it is stopped')
    .argument('<command...>', 'program and its arguments; no shell is involved')
    .passThroughOptions()
    .addOption(new Option('-i, --interactive', 'connect stdin even when it is a terminal').conflicts('stdin'))
    .addOption(new Option('-n, --no-stdin', 'connect no stdin'))
  addExecOptions(command).action((loop: string, words: string[], options: Options) =>
    exec(loop, commandOf(words), { options, context }),
  )
}

/**
 * The command without the `--` in front of it. An option of ours behind the loop would otherwise be taken for it.
 * @throws UsageError
 */
function commandOf(words: readonly string[]): readonly string[] {
  const [first, ...rest] = words
  if (first === '--' && rest.length === 0)
    throw new UsageError('exec: a command is missing', 'Run: loopctl exec --help')
  if (first === '--') return rest
  if (first?.startsWith('-')) {
    throw new UsageError(`exec: options come before the loop: ${first}`, 'Run: loopctl exec [options] LOOP -- COMMAND')
  }
  return words
}

async function exec(
  loop: string,
  command: readonly string[],
  { options, context }: { options: Options; context: Context },
): Promise<void> {
  const params = execParams(loop, command, { options, env: context.env })
  const stdin = options.stdin && (options.interactive === true || context.stdin.isTTY !== true)
  await context.withClient((client) => attach(client, { params, stdin, tty: false }, context))
}
