import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { errorCode } from '../lib/error-code.ts'
import { HOST_EXIT } from './host-run.ts'

/** A host command that runs; it leads a session of its own. */
export interface HostProcess {
  readonly pid: number
  /** What it reads. Fails when it reads no more. */
  readonly stdin: Writable
  readonly stdout: Readable
  /** A terminal has none of its own. */
  readonly stderr: Readable | undefined
  /** Its exit code, 128 + n when signal n ended it; outputs may still have something. Never rejects. */
  readonly exited: Promise<number>
  /** Changes the size of its terminal, if it has one. */
  resize(cols: number, rows: number): void
}

/** Why a command could not be started, and the code for it. */
export class HostStartError extends Error {
  override readonly name = 'HostStartError'
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

/** Puts what the system said into words. */
export function toStartError(error: unknown, path: string): HostStartError {
  if (error instanceof HostStartError) return error
  const code = errorCode(error)
  if (code === 'ENOENT') return new HostStartError(HOST_EXIT.notFound, `${path} is not there, or what interprets it`)
  if (code === 'E2BIG') return new HostStartError(HOST_EXIT.notExecutable, 'the arguments are too long')
  if (['EACCES', 'ELOOP', 'ENOEXEC', 'ENOTDIR', 'EPERM'].includes(code ?? '')) {
    return new HostStartError(HOST_EXIT.notExecutable, `${path} cannot be executed (${code})`)
  }
  return new HostStartError(HOST_EXIT.failed, `${path} could not be started (${code ?? String(error)})`)
}

/** The exit code that shells give. */
export function exitCodeOf(code: number | null, signal: NodeJS.Signals | number | null | undefined): number {
  const number = typeof signal === 'string' ? constants.signals[signal] : (signal ?? 0)
  return number > 0 ? HOST_EXIT.signal + number : (code ?? HOST_EXIT.failed)
}
