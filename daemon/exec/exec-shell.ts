import { pipeline, type Readable, Transform, type TransformCallback, type Writable } from 'node:stream'
import {
  EngineError,
  type EngineErrorKind,
  type EngineExec,
  type ExecExit,
  type ExecSignal,
  type TerminalSize,
} from '../engine/engine.ts'

/** What the shell says is shorter; more than this is output of a command. */
const MAX_WORDS = 16_384
/** Exit codes of a shell that cannot become the command. */
const KINDS: Readonly<Record<number, EngineErrorKind>> = { 126: 'not_executable', 127: 'command_not_found' }

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
    const words = new WordFilter(marker)
    // Its failures are those of its two ends, whose owners have them.
    pipeline(tty ? exec.stdout : exec.stderr, words, () => undefined)
    this.#exec = exec
    this.stdin = exec.stdin
    this.stdout = tty ? words : exec.stdout
    this.stderr = tty ? exec.stderr : words
    this.exit = Promise.all([exec.exit, words.settled]).then(([exit]) => readExit(exit, words.held))
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

function readExit(exit: ExecExit, words: string): ExecExit {
  if (words === '') return exit
  const kind = KINDS[exit.exitCode] ?? 'failed'
  const what = kind === 'failed' ? 'the command could not be given the variables of its vault: ' : ''
  throw new EngineError(kind, `${what}${words.trim()}`)
}

/** Passes output on, unless it begins with the marker: that is held. */
class WordFilter extends Transform {
  /** Settles when it is known whether anything is held. */
  readonly settled: Promise<void>
  readonly #marker: Buffer
  #settle: () => void = () => undefined
  #begun = Buffer.alloc(0)
  #isOpen = false

  constructor(marker: string) {
    super()
    this.#marker = Buffer.from(marker)
    this.settled = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.once('close', () => this.#settle())
  }

  /** The words of the shell; empty when it said none. */
  get held(): string {
    return this.#isOpen ? '' : this.#begun.toString().slice(this.#marker.length)
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    if (this.#isOpen) {
      callback(null, chunk)
      return
    }
    this.#begun = Buffer.concat([this.#begun, chunk])
    if (this.#begun.length <= MAX_WORDS && this.#mayBeWords()) callback()
    else this.#open(callback)
  }

  override _flush(callback: TransformCallback): void {
    if (!this.#isOpen && this.#begun.length < this.#marker.length) this.#open(callback)
    else callback()
    this.#settle()
  }

  #mayBeWords(): boolean {
    const length = Math.min(this.#begun.length, this.#marker.length)
    return this.#begun.subarray(0, length).equals(this.#marker.subarray(0, length))
  }

  #open(callback: TransformCallback): void {
    this.#isOpen = true
    this.#settle()
    callback(null, this.#begun)
  }
}
