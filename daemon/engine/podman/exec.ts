import type { Duplex, Writable } from 'node:stream'
import {
  EngineError,
  type EngineExec,
  type ExecExit,
  type ExecSignal,
  type ExecSpec,
  isEngineError,
  type TerminalSize,
} from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { ComplaintFilter } from './complaint.ts'
import { pipeToTheEnd } from './connection.ts'
import { isAtWorkOn } from './container-work.ts'
import { Demuxer, Output, type OutputWriter, Passer } from './demux.ts'
import { pathOf } from './docker.ts'
import { mayBeCutOff, readComplaint } from './error.ts'
import { discardInput, ExecInput, type InputTarget } from './exec-input.ts'
import { openInputPipe } from './input-pipe.ts'
import { findGroup, hasMembers, type ProcessGroup, signalGroup } from './process-group.ts'
import { containerDetails, created, execDetails, read } from './schema.ts'

/**
 * Podman reacts to ctrl-p, ctrl-q by detaching, and holds a lone ctrl-p back, even without a terminal. It can't be
 * switched off; this sequence is one that nobody types.
 */
const DETACH_KEYS = 'ctrl-^,ctrl-_,ctrl-^,ctrl-_'

/**
 * Starts a command. When the signal aborts after the command may have started, it is killed.
 * @throws EngineError `not_found`, `wrong_state`
 */
export async function startExec(
  api: PodmanApi,
  container: string,
  spec: ExecSpec,
  signal?: AbortSignal,
): Promise<PodmanExec> {
  const id = await createExec(api, container, spec, signal)
  signal?.throwIfAborted()
  const { tty } = spec
  // Not interrupted: an exec whose start was sent runs, and then somebody must own it.
  const socket = await api.hijack({
    method: 'POST',
    path: `/exec${pathOf(id)}/start`,
    // The size given here is set before the command starts.
    body: { Detach: false, Tty: tty !== undefined, ...(tty === undefined ? {} : { h: tty.rows, w: tty.cols }) },
    ok: [],
    what: `run ${spec.command[0]} in container ${container}`,
    repeatable: false,
    isAtWork: isAtWorkOn(container),
  })
  const exec = new PodmanExec({ api, id, container, spec, socket })
  if (signal?.aborted) {
    await exec.kill('SIGKILL')
    exec.close()
    signal.throwIfAborted()
  }
  return exec
}

async function createExec(api: PodmanApi, container: string, spec: ExecSpec, signal?: AbortSignal): Promise<string> {
  const what = `run ${spec.command[0]} in container ${container}`
  const answer = await api.call(
    {
      method: 'POST',
      path: `/containers${pathOf(container)}/exec`,
      body: {
        Cmd: spec.command,
        Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
        AttachStdin: spec.stdin,
        AttachStdout: true,
        AttachStderr: true,
        Tty: spec.tty !== undefined,
        DetachKeys: DETACH_KEYS,
        ...(spec.cwd === undefined ? {} : { WorkingDir: spec.cwd }),
        ...(spec.user === undefined ? {} : { User: spec.user }),
      },
      ok: [200, 201],
      what,
      // A second one is a record that was never started.
      repeatable: true,
      isAtWork: isAtWorkOn(container),
    },
    signal,
  )
  return read(created, answer, what).Id
}

interface PodmanExecParts {
  readonly api: PodmanApi
  readonly id: string
  readonly container: string
  readonly spec: ExecSpec
  readonly socket: Duplex
}

/** A command started through the API. */
export class PodmanExec implements EngineExec {
  readonly stdin: Writable
  readonly stdout = new Output()
  readonly stderr = new Output()
  readonly exit: Promise<ExecExit>
  /** The container as its starter named it. */
  readonly container: string
  readonly #api: PodmanApi
  readonly #id: string
  readonly #spec: ExecSpec
  readonly #socket: Duplex
  readonly #complaint = new ComplaintFilter()
  #group: ProcessGroup | undefined
  #isClosed = false

  constructor(parts: PodmanExecParts) {
    this.#api = parts.api
    this.#id = parts.id
    this.#spec = parts.spec
    this.#socket = parts.socket
    this.container = parts.container
    const ended = this.#readOutput()
    this.stdin = parts.spec.stdin ? new ExecInput(this.#openInput()) : discardInput()
    this.exit = ended.then(() => this.#readExit())
    // An owner that looks at the output alone must not be punished for a lost connection.
    this.exit.catch(() => undefined)
  }

  async resize(size: TerminalSize): Promise<void> {
    if (this.#spec.tty === undefined || this.#isClosed) return
    try {
      await this.#api.call({
        method: 'POST',
        path: `/exec${pathOf(this.#id)}/resize`,
        query: { h: size.rows, w: size.cols },
        // Podman answers 201.
        ok: [200, 201],
        what: `resize the terminal of ${this.#spec.command[0]}`,
        repeatable: true,
        isAtWork: isAtWorkOn(this.container),
      })
    } catch (error) {
      if (!isEngineError(error, 'not_found', 'wrong_state', 'failed') || (await this.#isRunning())) throw error
    }
  }

  async kill(signal: ExecSignal): Promise<boolean> {
    this.#group ??= await this.#findGroup()
    if (this.#group === undefined) return false
    const wasThere = await signalGroup(this.#group, signal)
    // A member that was being created during the signal, or that left a trace of the group behind.
    if (signal === 'SIGKILL' && (await hasMembers(this.#group))) await signalGroup(this.#group, signal)
    return wasThere
  }

  close(): void {
    this.#isClosed = true
    this.#socket.destroy()
    this.stdin.destroy()
    this.stdout.destroy()
    this.stderr.destroy()
  }

  /** From now on a reader that does not read no longer holds the command up: what is too much for it is lost. */
  dropWhenFull(): void {
    this.stdout.dropWhenFull()
    this.stderr.dropWhenFull()
  }

  /** The stream on which podman complains. */
  get #complaints(): Output {
    return this.#spec.tty === undefined ? this.stderr : this.stdout
  }

  async #openInput(): Promise<InputTarget | undefined> {
    if (this.#spec.tty !== undefined) return { stream: this.#socket, kind: 'terminal' }
    const state = await this.#inspect()
    if (state?.Running !== true) return undefined
    const pipe = await openInputPipe(state.Pid)
    if (pipe === undefined) return { stream: this.#socket, kind: 'connection' }
    // Closes podman's end of the pipe: the command's input ends when ours does.
    this.#socket.end()
    return { stream: pipe, kind: 'pipe' }
  }

  /** Settles when the connection is at its end. */
  #readOutput(): Promise<void> {
    const sink = (stream: 'stdout' | 'stderr', bytes: Buffer, later: () => void) => this.#take(stream, bytes, later)
    const writer: OutputWriter = this.#spec.tty === undefined ? new Demuxer(sink) : new Passer(sink)
    return new Promise((resolve, reject) => {
      writer.on('finish', resolve)
      writer.on('error', (cause) => {
        this.close()
        reject(connectionLost(this.#spec, cause))
      })
      writer.on('close', () => reject(connectionLost(this.#spec)))
      pipeToTheEnd(this.#socket, writer)
    })
  }

  #take(stream: 'stdout' | 'stderr', bytes: Buffer, later: () => void): boolean {
    const canComplain = this[stream] === this.#complaints
    const { released, isHeld } = this.#complaint.take(bytes, canComplain)
    // What was held is small: it may go over the mark.
    if (released.length > 0) this.#complaints.push(released)
    return isHeld ? true : this[stream].offer(bytes, later)
  }

  /** One look after the end of the stream: by then podman has saved the exit code. Whatever else it says means that it was lost. */
  async #readExit(): Promise<ExecExit> {
    // Without patience: a service that is not there any more broke the connection off, and with it perhaps the output.
    const state = await this.#inspect('ask')
    if (state === undefined || !state.CanRemove) {
      this.close()
      throw connectionLost(this.#spec)
    }
    const words = this.#complaint.text
    const command = { program: this.#spec.command[0] ?? '', cwd: this.#spec.cwd }
    const failure = readComplaint(words, state.ExitCode, command)
    const isCutOff = mayBeCutOff(words)
    if (failure === undefined && !isCutOff && words !== '') this.#complaints.push(this.#complaint.release())
    this.stdout.finish()
    this.stderr.finish()
    this.stdin.destroy()
    if (failure !== undefined) throw failure
    // A terminal's last words are lost when somebody types ahead while the command ends: that is nobody's loss.
    if (isCutOff && this.#spec.tty === undefined) {
      const message = `the end of the output of ${command.program} may be missing: it ended without reading its input`
      throw new EngineError('connection_lost', message)
    }
    return { exitCode: state.ExitCode }
  }

  async #isRunning(): Promise<boolean> {
    return (await this.#inspect())?.Running ?? false
  }

  /** Undefined when podman does not know the command any more, or does not answer. */
  async #inspect(how: 'ask' | 'call' = 'call'): Promise<ReturnType<typeof execDetails.parse> | undefined> {
    const what = `inspect ${this.#spec.command[0]}`
    try {
      const answer = await this.#api[how]({
        method: 'GET',
        path: `/exec${pathOf(this.#id)}/json`,
        ok: [200],
        what,
        repeatable: true,
        isAtWork: isAtWorkOn(this.container),
      })
      return read(execDetails, answer, what)
    } catch (error) {
      if (isEngineError(error)) return undefined
      throw error
    }
  }

  async #findGroup(): Promise<ProcessGroup | undefined> {
    const state = await this.#inspect()
    if (state === undefined || !state.Running || state.Pid <= 0) return undefined
    const what = `inspect container ${this.container}`
    const path = `/containers${pathOf(this.container)}/json`
    const isAtWork = isAtWorkOn(this.container)
    const answer = await this.#api.call({ method: 'GET', path, ok: [200], what, repeatable: true, isAtWork })
    return await findGroup(state.Pid, read(containerDetails, answer, what).State.Pid)
  }
}

function connectionLost(spec: ExecSpec, cause?: unknown): EngineError {
  const message = `the connection to ${spec.command[0]} was lost; whether it goes on is unknown`
  return new EngineError('connection_lost', message, { cause })
}
