import { Argument, type Command } from 'commander'
import { completionScript, INSTALL_HELP, SHELLS, type Shell } from '../completion.ts'
import type { Context } from '../context.ts'

/** `loopctl completion` */
export function configure(command: Command, { output }: Context): void {
  command
    .addArgument(new Argument('<shell>', 'shell to print it for').choices(SHELLS))
    .addHelpText('after', INSTALL_HELP)
    .action((shell: Shell) => output.text(completionScript(shell)))
}
