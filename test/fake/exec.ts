import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readlink } from 'node:fs/promises'
import { constants } from 'node:os'
import { PassThrough, type Readable, Writable } from 'node:stream'
import {
  EngineError,
  type EngineExec,
  type ExecExit,
  type ExecSignal,
  type ExecSpec,
  type TerminalSize,
} from '../../daemon/engine/engine.ts'
import { findGroup, type ProcessGroup, signalGroup } from '../../daemon/engine/podman/process-group.ts'
import { type Deferred, deferred } from '../../daemon/lib/deferred.ts'

/** Exit code of a missing program, as shells and runtimes have it. */
const NOT_FOUND = 127

/**
 * A command "in" a fake container: a process of the host, in a process group of its own. A terminal is made by
 * script(1), whose child leads the group that gets signals.
 */
export class FakeExec implements EngineExec {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  readonly exit: Promise<ExecExit>
  readonly #spec: ExecSpec
  readonly #child: ChildProcess
  readonly #exit: Deferred<ExecExit>
  readonly #ended: Promise<void>
  #group: ProcessGroup | undefined

  /**
   * @param spec what to run
   * @param cwd working directory on the host
   */
  constructor(spec: ExecSpec, cwd: string) {
    const [program = '', ...args] = spec.tty === undefined ? spec.command : underTerminal(spec.command, spec.tty)
    this.#spec = spec
    this.#exit = deferred()
    this.exit = this.#exit.promise
    // An owner that only reads the output must not be punished for a lost connection.
    this.exit.catch(() => undefined)
    this.#child = spawn(program, args, {
      cwd,
      env: { PATH: process.env.PATH, ...spec.env },
      detached: true,
      stdio: [spec.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    })
    this.stdin = inputOf(this.#child, spec)
    this.stdout = this.#child.stdout ?? emptyStream()
    this.stderr = this.#child.stderr ?? emptyStream()
    for (const stream of [this.stdin, this.stdout, this.stderr]) stream.on('error', () => stream.destroy())
    this.#ended = once(this.#child, 'close').then(
      () => undefined,
      () => undefined,
    )
    this.#watch()
  }

  async resize(size: TerminalSize): Promise<void> {
    if (this.#spec.tty === undefined || !this.#isAlive()) return
    const inner = await this.#leader()
    const terminal = inner === undefined ? '' : await readlink(`/proc/${inner}/fd/0`)
    if (!terminal.startsWith('/dev/pts/')) return
    await once(spawn('stty', ['-F', terminal, 'cols', `${size.cols}`, 'rows', `${size.rows}`]), 'close')
  }

  async kill(signal: ExecSignal): Promise<boolean> {
    const leader = await this.#leader()
    if (leader !== undefined) this.#group ??= await findGroup(leader, process.pid)
    return this.#group === undefined ? false : await signalGroup(this.#group, signal)
  }

  close(): void {
    this.stdin.destroy()
    this.stdout.destroy()
    this.stderr.destroy()
    this.#exit.reject(new EngineError('connection_lost', 'the command was given up'))
  }

  /** Ends the command because its container ends or goes. */
  async end(): Promise<void> {
    const leader = await this.#leader()
    for (const group of [leader, this.#child.pid]) if (group !== undefined && this.#isAlive()) killGroup(group)
    this.stdout.resume()
    this.stderr.resume()
    if (this.#isAlive()) await this.#ended
  }

  /** Breaks the connection: the command goes on, its owner knows nothing. */
  lose(): void {
    this.#exit.reject(new EngineError('connection_lost', 'the engine went away'))
    this.close()
  }

  #watch(): void {
    this.#child.once('error', (error: NodeJS.ErrnoException) => {
      const kind = error.code === 'ENOENT' ? 'command_not_found' : 'not_executable'
      this.#exit.reject(new EngineError(kind, `${this.#spec.command[0]}: ${error.message}`, { cause: error }))
    })
    this.#child.once('close', (code, signal) => {
      if (this.#spec.tty !== undefined && code === NOT_FOUND) {
        this.#exit.reject(new EngineError('command_not_found', `${this.#spec.command[0]}: not found`))
        return
      }
      this.#exit.resolve({ exitCode: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) })
    })
  }

  #isAlive(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** The process group that runs the command. */
  async #leader(): Promise<number | undefined> {
    const pid = this.#child.pid
    if (pid === undefined || this.#spec.tty === undefined) return pid
    try {
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
      return Number.parseInt(children, 10) || undefined
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }
}

function underTerminal(command: readonly string[], size: TerminalSize): string[] {
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  return ['script', '-qec', `stty cols ${size.cols} rows ${size.rows}; exec ${quoted}`, '/dev/null']
}

function killGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

function inputOf(child: ChildProcess, spec: ExecSpec): Writable {
  if (child.stdin === null) return discard()
  return spec.tty === undefined ? child.stdin : new TypedInput(child.stdin)
}

/** Types the end of file, twice in the middle of a line, where the first only hands the line over. */
class TypedInput extends Writable {
  readonly #terminal: Writable
  #last = 0x0a

  constructor(terminal: Writable) {
    super()
    this.#terminal = terminal
    terminal.on('error', () => this.destroy())
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.#last = chunk.at(-1) ?? this.#last
    this.#terminal.write(chunk, () => callback())
  }

  override _final(callback: () => void): void {
    this.#terminal.write(this.#last === 0x0a ? '\x04' : '\x04\x04', () => callback())
  }
}

function discard(): Writable {
  return new PassThrough().resume()
}

function emptyStream(): Readable {
  return new PassThrough().end()
}
