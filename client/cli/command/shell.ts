import type { Command } from 'commander'
import { attach } from '../attach.ts'
import type { Context } from '../context.ts'
import { addExecOptions, type ExecOptions, execParams } from '../exec-options.ts'
import { UsageError } from '../exit.ts'

/** bash where there is one (D11), as a login shell: it reads what the image and the user set up. */
const SHELL = ['/bin/sh', '-c', 'if command -v bash >/dev/null 2>&1; then exec bash -l; else exec /bin/sh -l; fi']

/** `loopctl shell` */
export function configure(command: Command, context: Context): void {
  command.argument('<loop>', 'loop to open it in; it is started when it is stopped')
  addExecOptions(command).action((loop: string, options: ExecOptions) => shell(loop, options, context))
}

async function shell(loop: string, options: ExecOptions, context: Context): Promise<void> {
  if (context.stdin.isTTY !== true) {
    throw new UsageError('shell: stdin is no terminal', `Run a command without one: loopctl exec ${loop} -- COMMAND`)
  }
  const params = execParams(loop, { options, env: context.env })
  const env = { ...terminalEnvironment(context.env), ...params.env }
  const shown = { params: { ...params, command: SHELL, env }, stdin: true, tty: true }
  await context.withClient((client) => attach(client, shown, context))
}

/** Programs inside draw for the terminal that is here. */
function terminalEnvironment({
  TERM,
  COLORTERM,
}: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return { TERM: TERM ?? 'xterm-256color', ...(COLORTERM === undefined ? {} : { COLORTERM }) }
}
