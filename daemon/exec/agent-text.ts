import type { ExecSpec } from '../engine/engine.ts'
import { NO_DIRECTORY } from './exec-shell.ts'

/** Names that some shell treats as its own, or the agent: it would not pass the value on as it is. */
const RESERVED =
  /^(_|BASH.*|COMP_.*|DIRSTACK|ENV|EPOCH.*|EUID|FUNCNAME|GROUPS|HIST.*|IFS|LINENO|OPTARG|OPTERR|OPTIND|PIPESTATUS|POSIXLY_CORRECT|PPID|PS[0-4]|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID|loopat_.*)$/
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

/** What an agent can run. Terminals and other users are the engine's. */
export type AgentSpec = Omit<ExecSpec, 'tty' | 'user'>

/** Reports whether a shell can pass all of it on unchanged. */
export function isCarried({ command: [program = '', ...args], cwd, env }: AgentSpec): boolean {
  const texts = [program, ...args, cwd ?? '/', ...Object.values(env)]
  return (
    program !== '' &&
    !program.startsWith('-') &&
    (cwd ?? '/').startsWith('/') &&
    !texts.some((text) => text.includes('\0')) &&
    Object.keys(env).every((name) => NAME.test(name) && !RESERVED.test(name))
  )
}

/**
 * What the shell of a slot reads before it becomes the command: it looks for its parent, connects the pipes, says that it begins, sets the
 * variables, and gets the command as its arguments. What goes wrong from then on it says on the command's stderr. Each
 * pipe is opened once: the daemon takes its closing for the end. The command is in braces, so that of a text that broke
 * off nothing is run. `$1` is the slot, `$3` the turn and `$4` the room, as the agent has it.
 */
export function commandText({ command, cwd = '/', env, stdin }: AgentSpec): string {
  return [
    // Who would tell of its end is not there any more: then another shell is to take it.
    'read -r loopat_pid loopat_name loopat_state loopat_parent loopat_rest <"/proc/$$/stat"',
    '[ "$loopat_parent" = "$PPID" ] && [ "$PPID" != 1 ] || exit',
    `exec <${stdin ? '"$4/$1/in"' : '/dev/null'} >"$4/$1/out" 2>"$4/$1/err"`,
    'echo "s $1 $3 $$" >"$4/status"',
    `cd -- ${quote(cwd)} || exit ${NO_DIRECTORY}`,
    // The shell's own news, which the command has not been given.
    'unset PWD OLDPWD SHLVL',
    // Some shells warn of locales that are not there.
    ...Object.entries(env).map(([name, value]) => `command export ${name}=${quote(value)} 2>/dev/null`),
    `{ loopat_command=whole; set -- ${command.map(quote).join(' ')}; }`,
    '',
  ].join('\n')
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
