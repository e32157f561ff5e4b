import { Writable } from 'node:stream'
import { LoopatError } from '@loopatd/protocol/error'
import { meaningfulLine } from './git-text.ts'
import type { LoopOutput, RunInLoop } from './run-in-loop.ts'

/** Bytes of output that are kept; the rest is read and thrown away. */
const KEPT_BYTES = 256 * 1024
/** Bytes of output after which a command is ended: nothing honest says as much. */
const MAX_BYTES = 64 * 1024 * 1024

/** Output of a command in a loop, of which only the beginning is kept. */
export interface KeptOutput {
  readonly exitCode: number
  /** Decoded; what is no UTF-8 is replaced. */
  readonly stdout: string
  /** Whether there was more than was kept. */
  readonly truncated: boolean
  readonly stderr: string
}

/**
 * Runs git inside a loop and keeps the beginning of what it says. Nothing there can be trusted, git itself included.
 * @param args arguments for git
 * @throws `git_failed` when git is missing or writes without end, and what `run` throws
 */
export async function gitInLoop(run: RunInLoop, args: readonly string[], signal: AbortSignal): Promise<KeptOutput> {
  const chunks: Buffer[] = []
  let bytes = 0
  const tooMuch = new AbortController()
  const stdout = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (bytes < KEPT_BYTES) chunks.push(chunk.subarray(0, KEPT_BYTES - bytes))
      bytes += chunk.length
      if (bytes > MAX_BYTES) tooMuch.abort(new LoopatError('git_failed', 'git in the loop writes without end'))
      done()
    },
  })
  const result = await run(
    gitCommand(args),
    { stdout, maxBytes: 2 * MAX_BYTES },
    AbortSignal.any([signal, tooMuch.signal]),
  ).catch((error) => {
    tooMuch.signal.throwIfAborted()
    throw error
  })
  tooMuch.signal.throwIfAborted()
  if (result.exitCode === 127) throw loopGitError(result, 'there is no git in the loop')
  return {
    exitCode: result.exitCode,
    stdout: Buffer.concat(chunks).toString(),
    truncated: bytes > KEPT_BYTES,
    stderr: result.stderr.toString(),
  }
}

/** The command for git in a loop: it writes nothing there but what it is told to, and asks nobody. */
export function gitCommand(args: readonly string[]): string[] {
  return [
    'git',
    '--no-optional-locks',
    '--no-pager',
    '-c',
    'core.fsmonitor=false',
    '-c',
    'core.quotePath=false',
    ...args,
  ]
}

/** `git_failed` for a git in a loop. */
export function loopGitError(
  result: Pick<LoopOutput, 'exitCode'> & { stderr: Buffer | string },
  reason?: string,
): LoopatError {
  const line = meaningfulLine(result.stderr.toString())
  return new LoopatError('git_failed', reason ?? `git in the loop failed: ${line || `exit code ${result.exitCode}`}`, {
    next: 'Look into the loop, or remove it with --force if nothing in it is needed.',
    details: { exitCode: result.exitCode },
  })
}
