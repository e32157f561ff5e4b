import { VERSION } from '@loopatd/protocol/version'
import { Command, CommanderError, Help, type Option } from 'commander'
import { commandName } from './command-name.ts'
import type { Context } from './context.ts'
import { UsageError } from './exit.ts'

/** A module in `command/`: it says which arguments a command of loopctl takes and does its work. */
interface CommandModule {
  configure(command: Command, context: Context): void
}

/** A command, of which the module is loaded only when it is called. */
interface CommandEntry {
  readonly name: string
  readonly summary: string
  readonly hidden?: boolean
  load(): Promise<CommandModule>
}

/** Every command, sorted by name. */
const COMMANDS: readonly CommandEntry[] = [
  {
    name: '__complete',
    summary: 'answer the completion scripts',
    hidden: true,
    load: () => import('./command/complete.ts'),
  },
  { name: 'archive', summary: 'stop loops and make them read-only', load: () => import('./command/loop-archive.ts') },
  {
    name: 'completion',
    summary: 'print a completion script for a shell',
    load: () => import('./command/completion.ts'),
  },
  { name: 'create', summary: 'create a loop and start it', load: () => import('./command/loop-create.ts') },
  { name: 'daemon', summary: 'see and control the daemon', load: () => import('./command/daemon.ts') },
  { name: 'doctor', summary: 'check everything a loop needs on this host', load: () => import('./command/doctor.ts') },
  { name: 'env', summary: 'see and set the plain variables of a loop', load: () => import('./command/env.ts') },
  { name: 'events', summary: 'print what happens, until interrupted', load: () => import('./command/event.ts') },
  { name: 'exec', summary: 'run a command in a loop', load: () => import('./command/exec.ts') },
  { name: 'host', summary: 'see and grant what loops may run on the host', load: () => import('./command/host.ts') },
  { name: 'idle', summary: 'see and set when loops sleep', load: () => import('./command/idle.ts') },
  { name: 'image', summary: 'see and build the sandbox image', load: () => import('./command/image.ts') },
  {
    name: 'inspect',
    summary: 'show what the container of a loop is made of',
    load: () => import('./command/loop-inspect.ts'),
  },
  { name: 'job', summary: 'run commands in a loop in the background', load: () => import('./command/job.ts') },
  { name: 'ls', summary: 'list loops', load: () => import('./command/loop-list.ts') },
  { name: 'plan', summary: 'tell what a change of a loop would do', load: () => import('./command/loop-plan.ts') },
  { name: 'rename', summary: "change a loop's name or title", load: () => import('./command/loop-rename.ts') },
  { name: 'restart', summary: 'stop and start loops', load: () => import('./command/loop-restart.ts') },
  { name: 'rm', summary: 'remove loops with everything in them', load: () => import('./command/loop-remove.ts') },
  { name: 'rpc', summary: 'call any method of the daemon', load: () => import('./command/rpc.ts') },
  { name: 'shell', summary: 'open a shell in a loop', load: () => import('./command/shell.ts') },
  { name: 'show', summary: 'show one loop', load: () => import('./command/loop-show.ts') },
  { name: 'start', summary: 'start loops', load: () => import('./command/loop-start.ts') },
  { name: 'stop', summary: 'stop loops', load: () => import('./command/loop-stop.ts') },
  { name: 'unarchive', summary: 'bring archived loops back', load: () => import('./command/loop-unarchive.ts') },
  {
    name: 'uninstall',
    summary: 'remove the workspace from this machine',
    load: () => import('./command/uninstall.ts'),
  },
  { name: 'update', summary: 'change what a loop is made from', load: () => import('./command/loop-update.ts') },
  { name: 'vault', summary: 'see and change vaults of credentials', load: () => import('./command/vault.ts') },
  { name: 'version', summary: 'print the version', load: () => import('./command/version.ts') },
]

/**
 * Makes the program, with the arguments of one command only: all others are there by name and summary.
 * @param name the command that is going to be called
 */
export async function makeProgram(name: string | undefined, context: Context): Promise<Command> {
  const program = new Command('loopctl')
    .description('Loops: rootless sandboxes for you and your coding agents.')
    .usage('<command> [arguments]')
    .version(`loopctl ${VERSION}`)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.output.text(text),
      writeErr: () => undefined,
    })
    .configureHelp({
      visibleOptions: sortedOptions,
      commandUsage: (command) => ['loopctl', ...pathOf(command), command.usage()].join(' '),
    })
  for (const entry of COMMANDS) {
    const command = program.command(entry.name, { hidden: entry.hidden ?? false }).description(entry.summary)
    if (entry.name === name) (await entry.load()).configure(command, context)
  }
  return program
}

/**
 * Options by their letters. The parser's own way to sort compares as a language does, and loading the rules of languages
 * takes longer than all the rest of a help.
 */
function sortedOptions(command: Command): Option[] {
  const key = ({ flags }: Option) => flags.replace(/^-+/, '').toLowerCase()
  return new Help().visibleOptions(command).sort((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** Words between `loopctl` and the arguments of a command. */
function pathOf(command: Command): string[] {
  const names: string[] = []
  for (let at: Command | null = command; at?.parent != null; at = at.parent) names.unshift(at.name())
  return names
}

/**
 * Parses the arguments and runs the command.
 * @throws UsageError when the arguments are wrong, or what the command throws
 */
export async function runProgram(argv: readonly string[], context: Context): Promise<void> {
  const name = commandName(argv)
  const program = await makeProgram(name, context)
  if (argv.length === 0) {
    throw new UsageError('a command is missing', 'Run: loopctl --help')
  }
  try {
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return
    throw usageError(error, program.commands.some((command) => command.name() === name) ? name : undefined)
  }
}

function usageError(error: CommanderError, name: string | undefined): UsageError {
  const help = `Run: loopctl ${name === undefined ? '' : `${name} `}--help`
  // With subcommands, a missing one is reported as "help was shown".
  if (error.code === 'commander.help') return new UsageError(`${name ?? 'loopctl'}: a command is missing`, help)
  return new UsageError(error.message.replace(/^error: /, ''), help)
}
