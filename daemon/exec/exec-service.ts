import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CheckedParamsOf, ResultOf } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol'
import { type ContainerEngine, type EngineExec, type ExecSpec, isEngineError } from '../engine/engine.ts'
import { abortable } from '../lib/abort.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/error-code.ts'
import type { OnProgress } from '../lib/progress.ts'
import { collect } from './collect.ts'
import type { LoopAccess, LoopUse } from './exec-access.ts'
import { type Delivery, deliverSecrets } from './exec-env.ts'
import type { ExecIo } from './exec-io.ts'
import { ShellExec } from './exec-shell.ts'

type Params = CheckedParamsOf<'exec/run'>
type Result = ResultOf<'exec/run'>

/** Milliseconds between TERM and KILL when a command is ended, and again until it is given up. */
const KILL_GRACE_MS = 2_000
/** Longest reason of a lease, in characters. */
const REASON_LENGTH = 80

/** What the service is made of. */
export interface ExecServiceOptions {
  readonly loops: LoopAccess
  readonly engine: { readonly container: Pick<ContainerEngine, 'exec'> }
  readonly clock: Clock
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
    await using delivery = await deliveryFor(use, params)
    const stdin = io !== undefined || params.stdin !== undefined
    const exec = await this.#start(use, params, { stdin, delivery, signal })
    const lost = new AbortController()
    const stopListening = io === undefined ? () => undefined : listen(io, exec)
    try {
      const done = io === undefined ? collected(exec, params) : streamed(exec, io, lost)
      return await abortable(done, AbortSignal.any([signal, lost.signal]))
    } catch (error) {
      await this.#end(exec)
      throw commandError(error, params)
    } finally {
      stopListening()
      exec.close()
    }
  }

  async #start(
    use: LoopUse,
    params: Params,
    { stdin, delivery, signal }: { stdin: boolean; delivery: Delivery | undefined; signal: AbortSignal },
  ): Promise<EngineExec> {
    const spec = execSpec(use, params, stdin)
    const { container } = this.#options.engine
    try {
      if (delivery === undefined) return await container.exec(use.container, spec, signal)
      const shell = await container.exec(use.container, { ...spec, command: delivery.command }, signal)
      return new ShellExec(shell, delivery.marker, params.tty !== undefined)
    } catch (error) {
      throw commandError(error, params)
    }
  }

  /** Ends the command's process group: TERM, then KILL. Does nothing to a command that has ended. */
  async #end(exec: EngineExec): Promise<void> {
    const over = exec.exit.then(
      () => undefined,
      () => undefined,
    )
    // Nobody reads any more: a command blocked on its output could otherwise not end.
    exec.stdout.resume()
    exec.stderr.resume()
    for (const name of ['SIGTERM', 'SIGKILL'] as const) {
      if (!(await exec.kill(name))) return
      const grace = new AbortController()
      const timeout = this.#options.clock.sleep(KILL_GRACE_MS, grace.signal).then(
        () => false,
        () => true,
      )
      const ended = await Promise.race([over.then(() => true), timeout])
      grace.abort()
      if (ended) return
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

function execSpec(use: LoopUse, params: Params, stdin: boolean): ExecSpec {
  return {
    command: params.command,
    cwd: params.cwd ?? use.workdir,
    env: { ...use.env, ...(params.tty === undefined ? {} : { TERM: 'xterm-256color' }), ...params.env },
    stdin,
    ...(params.user === undefined ? {} : { user: params.user }),
    ...(params.tty === undefined ? {} : { tty: params.tty }),
  }
}

/** Secrets that the request itself does not override; undefined when there are none. @throws `storage_failed` */
async function deliveryFor(use: LoopUse, { command, env = {} }: Params): Promise<Delivery | undefined> {
  const secrets = Object.fromEntries(Object.entries(use.secrets).filter(([name]) => !Object.hasOwn(env, name)))
  if (Object.keys(secrets).length === 0) return undefined
  try {
    return await deliverSecrets({ command, secrets, control: use.control })
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    throw new LoopatError('storage_failed', `cannot write the variables of the vault to ${use.control} (${code})`, {
      next: `Check the space and the permissions of ${use.control}, then run the command again.`,
      details: { loop: use.loopId, path: use.control, code },
      cause: error,
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

function commandError(error: unknown, params: Params): unknown {
  const program = params.command[0] ?? ''
  if (isEngineError(error, 'command_not_found')) {
    return new LoopatError('exec_not_found', `"${program}" was not found in the loop`, { cause: error })
  }
  if (isEngineError(error, 'not_executable')) {
    return new LoopatError('exec_not_executable', `"${program}" cannot be executed in ${params.cwd ?? 'the workdir'}`, {
      next: 'Check its mode, its interpreter and the working directory.',
      cause: error,
    })
  }
  if (isEngineError(error, 'wrong_state', 'not_found')) {
    return new LoopatError('loop_not_running', `loop "${params.loop}" stopped before the command began`, {
      next: `Run: loopctl start ${params.loop}`,
      cause: error,
    })
  }
  return error
}
