import type { Writable } from 'node:stream'

/** Options of {@link RunInLoop}. */
export interface RunInLoopOptions {
  /** Takes stdout as it comes, with back-pressure; `stdout` of the result is then empty. Not ended by the call. */
  readonly stdout?: Writable
  /** Most bytes of stdout; more ends the command and rejects. Of stderr a fixed, small number is kept at most. */
  readonly maxBytes?: number
}

/** What a command in a loop came to. Every byte is the sandbox's word. */
export interface LoopOutput {
  /** 127 when there is no such command, 128 + n when signal n ended it. */
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/**
 * Runs a command inside one running loop, in its workdir, as its user, without stdin and without a shell.
 * @param command argument vector
 * @throws `LoopatError` when the command could not be run to its end; a command that fails is a result
 */
export type RunInLoop = (
  command: readonly string[],
  options: RunInLoopOptions,
  signal: AbortSignal,
) => Promise<LoopOutput>
