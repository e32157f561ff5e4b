import type { CheckedParamsOf, ResultOf } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol'
import type { EngineExec } from '../engine/engine.ts'
import { abortable } from '../lib/abort.ts'
import type { Clock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import { commandError } from './command-error.ts'
import type { CommandRunner, StartedCommand } from './command-runner.ts'
import type { LoopAccess, LoopUse } from './exec-access.ts'
import type { ExecIo } from './exec-io.ts'
import { collecting, streaming, type Transfer } from './exec-transfer.ts'

type Params = CheckedParamsOf<'exec/run'>
type Result = ResultOf<'exec/run'>

/** Longest reason of a lease, in characters. */
const REASON_LENGTH = 80
/** Exit code of every command that its time limit ended (K-9): what the command makes of its end must not look like success. */
const TIMED_OUT_CODE = 137
/** Milliseconds that the output of a command has to end after the command was ended. */
const SETTLE_MS = 500

/** Signals of a client that wants the command to end. */
const ENDING: ReadonlySet<string> = new Set(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'])

/** What the service is made of. */
export interface ExecServiceOptions {
  readonly loops: LoopAccess
  readonly runner: CommandRunner
  readonly clock: Clock
}

/** What is run: who asked, with which words and streams. */
interface Run {
  readonly params: Params
  readonly command: readonly string[]
  readonly io: ExecIo | undefined
}

/** One-shot commands. */
export class ExecService {
  readonly #options: ExecServiceOptions

  constructor(options: ExecServiceOptions) {
    this.#options = options
  }

  /**
   * Runs a command and waits for it; see the contract.
   * @param io the client's streams, or undefined to collect the output into the result
   */
  async run(params: Params, io: ExecIo | undefined, onProgress: OnProgress, signal: AbortSignal): Promise<Result> {
    checkCombination(params, io)
    const command = commandOf(params)
    const ended = new AbortController()
    const end = () =>
      ended.abort(
        new LoopatError('loop_not_running', 'the loop was stopped while the command ran', {
          next: 'Start the loop and run the command again.',
        }),
      )
    const reason = (params.shell ?? command.join(' ')).slice(0, REASON_LENGTH)
    const owner = params.tty === undefined ? 'exec' : 'terminal'
    try {
      const use = await this.#options.loops.use(
        params.loop,
        { start: params.start, owner, reason, interactive: params.interactive ?? false, end },
        onProgress,
        signal,
      )
      try {
        return await this.#runIn(use, { params, command, io }, AbortSignal.any([signal, ended.signal]))
      } finally {
        use.release()
      }
    } finally {
      await io?.close()
    }
  }

  async #runIn(use: LoopUse, { params, command, io }: Run, signal: AbortSignal): Promise<Result> {
    const { runner, clock } = this.#options
    const stdin = io !== undefined || params.stdin !== undefined
    const { loop, cwd, env, user, tty, maxOutputBytes } = params
    const optional = { ...(user === undefined ? {} : { user }), ...(tty === undefined ? {} : { tty }) }
    const refusal = (error: unknown) => commandError(error, { loop, command, cwd })
    await using started = await runner
      .start(use, { command, cwd, env, stdin, ...optional }, signal)
      .catch((error: unknown) => {
        throw refusal(error)
      })
    const began = clock.monotonicMs()
    const { exec } = started
    const lost = new AbortController()
    const control = io === undefined ? undefined : listen(io, exec)
    const given = AbortSignal.any([signal, lost.signal])
    try {
      const transfer = io === undefined ? collecting(exec, params) : streaming(exec, io, { maxOutputBytes, lost })
      const exitCode = await this.#within(transfer.done, params.timeoutMs, given)
      const timedOut = exitCode === undefined
      if (timedOut) await this.#endLate(started, transfer, given)
      // Shells hand no Ctrl-C on to what they run in the background.
      else if (control?.isInterrupted()) await runner.endAll(started)
      const durationMs = Math.round(clock.monotonicMs() - began)
      return { exitCode: timedOut ? TIMED_OUT_CODE : exitCode, timedOut, durationMs, ...transfer.output() }
    } catch (error) {
      await runner.end(started)
      throw refusal(error)
    } finally {
      control?.stop()
    }
  }

  /** @returns undefined when the time is over first. @throws what `done` rejects with, or the reason of the signal */
  async #within<T>(done: Promise<T>, ms: number | undefined, signal: AbortSignal): Promise<T | undefined> {
    if (ms === undefined) return await abortable(done, signal)
    const timer = new AbortController()
    const over = this.#options.clock.sleep(ms, timer.signal).catch(() => undefined)
    try {
      return await abortable(Promise.race([done, over.then(() => undefined)]), signal)
    } finally {
      timer.abort()
    }
  }

  /**
   * Ends a command whose time is over. What it has written goes on to a client that takes it, however slowly. Its output
   * may have no end: a process that left its group may hold it open.
   */
  async #endLate(started: StartedCommand, transfer: Transfer, signal: AbortSignal): Promise<void> {
    await this.#options.runner.end(started)
    const arrived = transfer.done.then(() => true)
    while ((await this.#within(arrived, SETTLE_MS, signal)) === undefined) {
      if (!transfer.isBehind()) return await abortable(transfer.settle(), signal)
    }
  }
}

/** What is run: the words, or a shell that reads the text. */
function commandOf({ command, shell }: Params): readonly string[] {
  if (command === undefined && shell !== undefined) return ['/bin/sh', '-c', '--', shell]
  if (command !== undefined && shell === undefined) return command
  throw new LoopatError('invalid_params', 'exec/run: either command or shell must be given, and not both', {
    next: 'Give the program and its arguments in `command`, or text for a shell in `shell`.',
  })
}

function checkCombination(params: Params, io: ExecIo | undefined): void {
  if (params.tty !== undefined && io === undefined) {
    throw new LoopatError('invalid_params', 'exec/run: tty needs a stream', {
      next: 'Open one with stream/open and name it in `stream`.',
    })
  }
  if (params.stdin !== undefined && io !== undefined) {
    throw new LoopatError('invalid_params', 'exec/run: stdin and stream exclude each other', {
      next: 'Send stdin on the stream.',
    })
  }
}

/** What a client says beside its input. */
interface Control {
  /** Whether the client sent a signal that is meant to end the command. */
  isInterrupted(): boolean
  stop(): void
}

/** Takes resize and signal messages of the client. A signal to a command that has ended is no error. */
function listen(io: ExecIo, exec: EngineExec): Control {
  let isInterrupted = false
  const stop = io.onControl((message) => {
    if (message.type === 'signal') isInterrupted ||= ENDING.has(message.signal)
    const done = message.type === 'resize' ? exec.resize(message) : exec.kill(message.signal)
    done.catch((error: unknown) => exec.stdout.destroy(error instanceof Error ? error : new Error(String(error))))
  })
  return { stop, isInterrupted: () => isInterrupted }
}
