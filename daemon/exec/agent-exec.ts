import { closeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { EngineError, type EngineExec, type ExecExit, type ExecSignal } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'
import { deferred } from '../lib/deferred.ts'
import { AgentOutput } from './agent-output.ts'
import type { AgentRun } from './agent-room.ts'
import { hasSession, killByArgument, type Session, signalSession } from './agent-session.ts'
import { inputOf } from './agent-slot.ts'
import { readShellExit } from './exec-shell.ts'
import type { ReadBuffers } from './read-buffers.ts'
import { ShellWords } from './shell-words.ts'

/** Milliseconds between looks for a command whose output is over, but not the command. */
const LOOK_MS = 2_000
/** Milliseconds after which the output of a command that has not ended is listened to. */
const LISTEN_MS = 2

/** What a command of an agent is made of. */
export interface AgentExecParts {
  readonly run: AgentRun
  /** Value of its {@link EXEC_MARK}. */
  readonly mark: string | undefined
  /** Host pid of the container's first process, 0 when it does not run. */
  readonly containerPid: () => number
  readonly clock: Clock
  readonly buffers: ReadBuffers
}

/** A command that an agent runs. */
export class AgentExec implements EngineExec {
  readonly stdin: Writable
  readonly stdout: AgentOutput
  readonly stderr: AgentOutput
  readonly exit: Promise<ExecExit>
  readonly ended: Promise<void>
  /** Resolves when the command runs; false when it never will, and has not. */
  readonly started: Promise<boolean>
  readonly #parts: AgentExecParts
  readonly #words: ShellWords
  readonly #closed = deferred<undefined>()
  #isOver = false
  #wasSignalled = false

  constructor(parts: AgentExecParts) {
    this.#parts = parts
    const { run } = parts
    this.#words = new ShellWords(`${run.shell}: `)
    const { buffers } = parts
    this.stdout = new AgentOutput({ fd: run.pipes.out, buffers })
    this.stderr = new AgentOutput({ fd: run.pipes.err, buffers, words: this.#words })
    // Whoever reads them sees their errors; when nobody does, they must not end the daemon.
    for (const stream of [this.stdout, this.stderr]) stream.on('error', () => undefined)
    const { input } = run.pipes
    this.stdin = input === undefined ? discard() : inputOf(input.write)
    this.started = run.started.then((pid) => {
      if (input !== undefined) closeSync(input.hold)
      if (pid !== undefined) setTimeout(() => this.#listen(), LISTEN_MS)
      return pid !== undefined
    })
    this.ended = run.ended.then(() => undefined)
    this.exit = this.#readExit()
    // An owner that looks at the output alone must not be punished for a lost connection.
    this.exit.catch(() => undefined)
    void Promise.all([this.stdout.drained, this.stderr.drained, run.ended]).then(() => run.release())
  }

  async resize(): Promise<void> {
    // There is no terminal.
  }

  async kill(signal: ExecSignal): Promise<boolean> {
    const session = await this.#session()
    if (session === undefined || (this.#isOver && !this.#wasSignalled)) return false
    this.#wasSignalled = true
    return await signalSession(session, signal)
  }

  /**
   * Kills the shell that was to become the command, whether it has or not.
   * @returns false when it is not known where that is
   */
  async killShell(): Promise<boolean> {
    const containerPid = this.#parts.containerPid()
    if (containerPid > 0) await killByArgument(this.#parts.run.shell, containerPid)
    return containerPid > 0
  }

  close(): void {
    this.#closed.resolve(undefined)
    this.stdin.destroy()
    this.stdout.destroy()
    this.stderr.destroy()
  }

  async #readExit(): Promise<ExecExit> {
    const code = await Promise.race([this.#parts.run.ended, this.#closed.promise])
    this.#isOver = true
    this.stdin.destroy()
    if (code === undefined) {
      this.close()
      throw new EngineError('connection_lost', 'the command was lost out of sight; whether it goes on is unknown')
    }
    await Promise.all([this.stdout.finish(), this.stderr.finish()])
    return readShellExit({ exitCode: code }, this.#words.held)
  }

  #listen(): void {
    if (this.#isOver) return
    this.stdout.listen()
    this.stderr.listen()
    void this.#watch()
  }

  /** Looks for the command when nobody can write its output any more: who would tell of its end may have been killed. */
  async #watch(): Promise<void> {
    const { run, clock } = this.#parts
    await Promise.all([this.stdout.drained, this.stderr.drained])
    for (let misses = 0; !this.#isOver && misses < 2; ) {
      await clock.sleep(LOOK_MS)
      const session = this.#isOver ? undefined : await this.#session()
      misses = session !== undefined && (await hasSession(session)) ? 0 : misses + 1
    }
    if (!this.#isOver) run.lose()
  }

  async #session(): Promise<Session | undefined> {
    const id = await this.#parts.run.started
    if (id === undefined) return undefined
    const containerPid = this.#parts.containerPid()
    return containerPid > 0 ? { id, containerPid, mark: this.#parts.mark } : undefined
  }
}

/** The input of a command that has none: takes everything and forgets it. */
function discard(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => setImmediate(done) })
}
