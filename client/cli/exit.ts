import { EXIT, isLoopatError } from '@loopatd/protocol/error'
import type { Signal } from './signals.ts'

/** The commands that hand on the exit code of a command inside: their own failures get codes of their own. */
const RUNNERS: ReadonlySet<string> = new Set(['exec', 'job wait', 'shell'])

/** Errors that tell about the command, not about us. */
const ABOUT_THE_COMMAND: ReadonlySet<number> = new Set([
  EXIT.notExecutable.code,
  EXIT.commandNotFound.code,
  EXIT.interrupted.code,
])

/** Bad arguments of `loopctl`. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** What to do next. */
  readonly next: string | undefined

  /** @param next what to do next: a command as a rule */
  constructor(message: string, next?: string) {
    super(message)
    this.next = next
  }
}

/** The user, or whoever sent the signal, wants this program to end. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError'
  readonly signal: Signal

  constructor(signal: Signal) {
    super('interrupted')
    this.signal = signal
  }
}

/** Exit code of a process that ended because of a signal. */
export function signalExitCode(signal: Signal | 'SIGPIPE'): number {
  return 128 + { SIGHUP: 1, SIGINT: 2, SIGPIPE: 13, SIGTERM: 15 }[signal]
}

/** Reports whether an error says that nobody reads our output any more, on a terminal `EIO`; that is not worth a message. */
export function isBrokenPipe(error: unknown): boolean {
  if (!(error instanceof Error && 'code' in error)) return false
  return error.code === 'EPIPE' || (error.code === 'EIO' && 'syscall' in error && error.syscall === 'write')
}

function generalExitCode(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage.code
  return isLoopatError(error) ? error.exitCode : EXIT.failure.code
}

/**
 * The one place that turns what was thrown into the exit code of `loopctl`.
 * @param command name of the command of loopctl that failed; `exec`, `job wait` and `shell` keep 0 to 124 for the command inside
 */
export function exitCodeOf(error: unknown, command: string | undefined): number {
  if (error instanceof InterruptedError) return signalExitCode(error.signal)
  if (isBrokenPipe(error)) return signalExitCode('SIGPIPE')
  const code = generalExitCode(error)
  if (command === undefined || !RUNNERS.has(command) || ABOUT_THE_COMMAND.has(code)) return code
  return EXIT.execFailed.code
}
