import { pipeline, type Readable, Transform, type TransformCallback, type Writable } from 'node:stream'
import {
  EngineError,
  type EngineErrorKind,
  type EngineExec,
  type ExecExit,
  type ExecSignal,
  type TerminalSize,
} from '../engine/engine.ts'
import { ShellWords } from './shell-words.ts'

/** Exit code of a shell that cannot go to the directory. */
export const NO_DIRECTORY = 123
/** Exit codes of a shell that cannot become the command. */
const KINDS: Readonly<Record<number, EngineErrorKind>> = {
  [NO_DIRECTORY]: 'directory_unusable',
  126: 'not_executable',
  127: 'command_not_found',
}

/**
 * A command that a shell was to become. When it could not, what the shell says about it is an error, as it is for a
 * command without a shell, and not output.
 */
export class ShellExec implements EngineExec {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  readonly exit: Promise<ExecExit>
  readonly #exec: EngineExec

  /**
   * @param exec the shell
   * @param marker what its own words begin with
   * @param tty whether stderr is part of stdout
   */
  constructor(exec: EngineExec, marker: string, tty: boolean) {
    const filter = new WordFilter(new ShellWords(marker))
    // Its failures are those of its two ends, whose owners have them.
    pipeline(tty ? exec.stdout : exec.stderr, filter, () => undefined)
    this.#exec = exec
    this.stdin = exec.stdin
    this.stdout = tty ? filter : exec.stdout
    this.stderr = tty ? exec.stderr : filter
    this.exit = Promise.all([exec.exit, filter.settled]).then(([exit]) => readShellExit(exit, filter.words.held))
    // An owner that looks at the output alone must not be punished for a lost connection.
    this.exit.catch(() => undefined)
  }

  resize(size: TerminalSize): Promise<void> {
    return this.#exec.resize(size)
  }

  kill(signal: ExecSignal): Promise<boolean> {
    return this.#exec.kill(signal)
  }

  close(): void {
    this.#exec.close()
    this.stdout.destroy()
    this.stderr.destroy()
  }
}

/** @throws EngineError when the shell said why it could not become the command */
export function readShellExit(exit: ExecExit, words: string): ExecExit {
  if (words === '') return exit
  const kind = KINDS[exit.exitCode] ?? 'failed'
  const what = kind === 'failed' ? 'the command could not be given the variables of its vault: ' : ''
  throw new EngineError(kind, `${what}${words.trim()}`)
}

/** Passes on what is no words of the shell. */
class WordFilter extends Transform {
  /** Settles when it is known whether there are any. */
  readonly settled: Promise<void>
  readonly words: ShellWords
  #settle: () => void = () => undefined

  constructor(words: ShellWords) {
    super()
    this.words = words
    this.settled = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.once('close', () => this.#settle())
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    const output = this.words.filter(chunk)
    if (output.length > 0) this.#settle()
    callback(null, output)
  }

  override _flush(callback: TransformCallback): void {
    callback(null, this.words.end())
    this.#settle()
  }
}
