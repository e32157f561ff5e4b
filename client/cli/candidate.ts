import type { Argument, Command, Option } from 'commander'
import { commandName } from './command-name.ts'
import { FILES } from './completion.ts'

/** What only the daemon knows. */
export type Lookup = 'any loop' | 'approval' | 'archived loop' | 'grant' | 'job' | 'loop' | 'method' | 'vault'

/** Something that the word under the cursor may become. */
export interface Candidate {
  readonly value: string
  /** For people; may be empty. */
  readonly meaning: string
}

/** Where candidates come from. */
export interface CandidateSource {
  /** The program with the arguments of one command. */
  program(name: string | undefined): Promise<Command>
  /** Asks the daemon. @param loop where to look for jobs or grants */
  lookup(lookup: Lookup, loop?: string): Promise<readonly Candidate[]>
}

/** Which loops a command works on, where that is not those that are not archived. */
const LOOPS_OF: Readonly<Record<string, Lookup>> = {
  inspect: 'any loop',
  rm: 'any loop',
  show: 'any loop',
  unarchive: 'archived loop',
}

/** Values of options and arguments that are paths on this host. */
const PATHS: ReadonlySet<string> = new Set(['source'])

/**
 * Finds what the last word may become.
 * @param words what stands behind `loopctl`, up to the cursor
 */
export async function candidates(words: readonly string[], source: CandidateSource): Promise<readonly Candidate[]> {
  const before = words.slice(0, -1)
  const current = words.at(-1) ?? ''
  const name = commandName(before)
  const program = await source.program(name)
  const place = locate(program, before)
  const all = await offers(place, current, source)
  const used = new Set(place.operands)
  return all.filter(({ value }) => value === FILES || (value.startsWith(current) && !used.has(value)))
}

/** Where in the command line the cursor is. */
interface Place {
  readonly command: Command
  /** Words of the command that are neither options nor their values. */
  readonly operands: readonly string[]
  /** The option whose value is to come. */
  readonly pending: Option | undefined
  /** Whether options may still come. */
  readonly options: boolean
}

function locate(program: Command, words: readonly string[]): Place {
  let command = program
  let pending: Option | undefined
  let options = true
  const operands: string[] = []
  for (const word of words) {
    const child = command.commands.find((candidate) => candidate.name() === word)
    if (pending !== undefined) pending = undefined
    else if (options && word === '--') options = false
    else if (options && word.startsWith('-')) pending = withValue(command, word)
    else if (child !== undefined && operands.length === 0) command = child
    else operands.push(word)
    // Behind the loop of `exec` or `job start`, everything belongs to the command inside.
    if (operands.length > 0 && runs(command)) options = false
  }
  return { command, operands, pending, options }
}

function runs(command: Command): boolean {
  return command.name() === 'exec' || (command.name() === 'start' && command.parent?.name() === 'job')
}

/** The option that a word names, when its value is the next word. */
function withValue(command: Command, word: string): Option | undefined {
  return command.options.find((option) => option.required && (option.long === word || option.short === word))
}

async function offers(place: Place, current: string, source: CandidateSource): Promise<readonly Candidate[]> {
  const { command, operands, pending, options } = place
  if (pending !== undefined) return await valuesOf(pending, pending.flags, place, source)
  if (options && current.startsWith('-')) return optionsOf(command)
  if (command.commands.length > 0) return operands.every((word) => word === 'help') ? visible(command) : []
  const position = Math.min(operands.length, command.registeredArguments.length - 1)
  const argument = command.registeredArguments[position]
  if (argument === undefined || (operands.length > position && !argument.variadic)) return []
  return await valuesOf(argument, `<${argument.name()}>`, place, source)
}

/** @param label how the value is named in the help: it tells what kind of value it is */
async function valuesOf(
  { argChoices }: Argument | Option,
  label: string,
  { command, operands }: Place,
  source: CandidateSource,
): Promise<readonly Candidate[]> {
  if (argChoices !== undefined) return argChoices.map((value) => ({ value, meaning: '' }))
  const kind = /<([a-z]+)(?:\.\.\.)?>/.exec(label)?.[1] ?? ''
  if (kind === 'loop') return await source.lookup(LOOPS_OF[command.name()] ?? 'loop')
  if (kind === 'grant' || kind === 'job') return await source.lookup(kind, operands[0])
  if (kind === 'approval' || kind === 'method' || kind === 'vault') return await source.lookup(kind)
  return PATHS.has(kind) ? [{ value: FILES, meaning: '' }] : []
}

function optionsOf(command: Command): Candidate[] {
  const help = command.createHelp()
  return help
    .visibleOptions(command)
    .flatMap(({ long, description }) => (long == null ? [] : [{ value: long, meaning: description }]))
}

function visible(command: Command): Candidate[] {
  const help = command.createHelp()
  return help.visibleCommands(command).map((child) => ({ value: child.name(), meaning: child.description() }))
}
