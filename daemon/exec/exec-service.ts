import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CheckedParamsOf, ResultOf } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol'
import { type EngineExec, isEngineError } from '../engine/engine.ts'
import { abortable } from '../lib/abort.ts'
import type { OnProgress } from '../lib/progress.ts'
import { collect } from './collect.ts'
import { commandError } from './command-error.ts'
import type { CommandRunner } from './command-runner.ts'
import type { LoopAccess, LoopUse } from './exec-access.ts'
import type { ExecIo } from './exec-io.ts'

type Params = CheckedParamsOf<'exec/run'>
type Result = ResultOf<'exec/run'>

/** Longest reason of a lease, in characters. */
const REASON_LENGTH = 80

/** What the service is made of. */
export interface ExecServiceOptions {
  readonly loops: LoopAccess
  readonly runner: CommandRunner
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
    const ended = new AbortController()
    const end = () =>
      ended.abort(
        new LoopatError('loop_not_running', 'the loop was stopped while the command ran', {
          next: 'Start the loop and run the command again.',
        }),
      )
    const reason = params.command.join(' ').slice(0, REASON_LENGTH)
    try {
      const use = await this.#options.loops.use(
        params.loop,
        { start: params.start, owner: 'exec', reason, end },
        onProgress,
        signal,
      )
      try {
        return await this.#runIn(use, { params, io }, AbortSignal.any([signal, ended.signal]))
      } finally {
        use.release()
      }
    } finally {
      await io?.close()
    }
  }

  async #runIn(
    use: LoopUse,
    { params, io }: { params: Params; io: ExecIo | undefined },
    signal: AbortSignal,
  ): Promise<Result> {
    const { runner } = this.#options
    const stdin = io !== undefined || params.stdin !== undefined
    const { command, cwd, env, user, tty } = params
    const optional = { ...(user === undefined ? {} : { user }), ...(tty === undefined ? {} : { tty }) }
    await using started = await runner
      .start(use, { command, cwd, env, stdin, ...optional }, signal)
      .catch((error: unknown) => {
        throw commandError(error, params)
      })
    const { exec } = started
    const lost = new AbortController()
    const stopListening = io === undefined ? () => undefined : listen(io, exec)
    try {
      const done = io === undefined ? collected(exec, params) : streamed(exec, io, lost)
      return await abortable(done, AbortSignal.any([signal, lost.signal]))
    } catch (error) {
      await runner.end(exec)
      throw commandError(error, params)
    } finally {
      stopListening()
    }
  }
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

/** Takes resize and signal messages of the client. A signal to a command that has ended is no error. */
function listen(io: ExecIo, exec: EngineExec): () => void {
  return io.onControl((message) => {
    const done = message.type === 'resize' ? exec.resize(message) : exec.kill(message.signal)
    done.catch((error: unknown) => exec.stdout.destroy(error instanceof Error ? error : new Error(String(error))))
  })
}

/**
 * Passes input on. A command may end, or close its stdin, while input still comes: that is no failure, the rest is
 * read and dropped, so that what follows the input on the same transport is not held up.
 */
function feed(source: Readable, stdin: Writable): void {
  stdin.once('error', () => {
    source.unpipe(stdin)
    source.resume()
  })
  source.once('error', () => stdin.end())
  source.once('close', () => stdin.end())
  source.pipe(stdin)
}

async function collected(exec: EngineExec, params: Params): Promise<Result> {
  if (params.stdin !== undefined) feed(Readable.from([Buffer.from(params.stdin)]), exec.stdin)
  const [exit, stdout, stderr] = await Promise.all([
    exec.exit,
    collect(exec.stdout, params.maxOutputBytes),
    collect(exec.stderr, params.maxOutputBytes),
  ])
  return {
    exitCode: exit.exitCode,
    stdout: stdout.bytes.toString(params.encoding),
    stderr: stderr.bytes.toString(params.encoding),
    droppedBytes: stdout.dropped + stderr.dropped,
  }
}

/** Joins the client's streams to the command's. A client that goes away while the command runs ends it through `lost`. */
async function streamed(exec: EngineExec, io: ExecIo, lost: AbortController): Promise<Result> {
  feed(io.stdin, exec.stdin)
  const gone = (error: unknown) => {
    if (!isEngineError(error)) {
      lost.abort(new LoopatError('cancelled', 'the client closed its stream while the command ran', { cause: error }))
    }
    throw error
  }
  const output = Promise.all([pipeline(exec.stdout, io.stdout), pipeline(exec.stderr, io.stderr)])
  const [exit] = await Promise.all([exec.exit, output.catch(gone)])
  return { exitCode: exit.exitCode, stdout: null, stderr: null, droppedBytes: 0 }
}
