import { directoryOf, isText, type StartWords, shellWords } from './command-word.ts'
import type { HostProcess } from './host-process.ts'
import type { HostCommand } from './host-run.ts'
import type { PipeStock } from './pipe-stock.ts'
import { spawnPiped } from './piped-process.ts'
import type { StarterStock } from './starter.ts'

/** What is made ahead for commands on pipes. */
export interface PipeSupply {
  readonly pipes: PipeStock
  readonly starters: StarterStock
}

/**
 * Starts a command on pipes, in a session of its own.
 * @param cwd path that leads to the directory until this resolves
 * @throws the system's error
 */
export async function startOnPipes(
  command: HostCommand,
  cwd: string,
  { pipes, starters }: PipeSupply,
): Promise<HostProcess> {
  const ready = starters.take()
  if (ready !== undefined) return await ready.become(command, cwd)
  return await spawnPiped({ ...wordsOf(command), cwd, env: { ...command.env, PWD: directoryOf(command) } }, pipes)
}

function wordsOf(command: HostCommand): StartWords & { readonly argv0?: string } {
  if (!isText(command)) return shellWords(command)
  const [argv0 = command.path, ...args] = command.argv.map((word) => word.toString())
  return { file: command.path, args, argv0 }
}
