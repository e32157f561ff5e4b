import { LoopatError } from '@loopatd/protocol'
import type { ContainerEngine, EngineExec, ExecSpec } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/error-code.ts'
import type { LoopUse } from './exec-access.ts'
import { type Delivery, deliverSecrets } from './exec-env.ts'
import { ShellExec } from './exec-shell.ts'

/** Milliseconds between TERM and KILL when a command is ended, and again until it is given up. */
const KILL_GRACE_MS = 2_000

/** What is to be run in a loop. */
export interface CommandRequest extends Pick<ExecSpec, 'command' | 'tty' | 'user'> {
  /** Absolute; default: the workdir. */
  readonly cwd?: string | undefined
  /** Variables of this command; they win over those of the loop and of its vault. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Whether it gets an input; otherwise it finds the end of it at once. */
  readonly stdin: boolean
}

/** A command in a loop. Disposing of it lets go of its streams; it does not end it. */
export interface StartedCommand extends AsyncDisposable {
  readonly exec: EngineExec
}

/** What the runner is made of. */
export interface CommandRunnerOptions {
  readonly engine: { readonly container: Pick<ContainerEngine, 'exec'> }
  readonly clock: Clock
}

/** Starts and ends commands in loops that are in use, with the variables of the loop and the secrets of its vault. */
export class CommandRunner {
  readonly #options: CommandRunnerOptions

  constructor(options: CommandRunnerOptions) {
    this.#options = options
  }

  /**
   * Starts a command.
   * @throws EngineError as an exec of the engine does, `storage_failed`, or the reason of the signal
   */
  async start(use: LoopUse, request: CommandRequest, signal: AbortSignal): Promise<StartedCommand> {
    const delivery = await deliveryFor(use, request)
    try {
      const exec = await this.#exec(use, request, { delivery, signal })
      return {
        exec,
        [Symbol.asyncDispose]: async () => {
          exec.close()
          await delivery?.[Symbol.asyncDispose]()
        },
      }
    } catch (error) {
      await delivery?.[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Ends the command's process group: TERM, then KILL. Does nothing to a command that has ended. */
  async end(exec: EngineExec): Promise<void> {
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

  async #exec(
    use: LoopUse,
    request: CommandRequest,
    { delivery, signal }: { delivery: Delivery | undefined; signal: AbortSignal },
  ): Promise<EngineExec> {
    const { container } = this.#options.engine
    const spec = execSpec(use, request)
    if (delivery === undefined) return await container.exec(use.container, spec, signal)
    const shell = await container.exec(use.container, { ...spec, command: delivery.command }, signal)
    return new ShellExec(shell, delivery.marker, request.tty !== undefined)
  }
}

function execSpec(use: LoopUse, { command, cwd, env, user, tty, stdin }: CommandRequest): ExecSpec {
  return {
    command,
    cwd: cwd ?? use.workdir,
    env: { ...use.env, ...(tty === undefined ? {} : { TERM: 'xterm-256color' }), ...env },
    stdin,
    ...(user === undefined ? {} : { user }),
    ...(tty === undefined ? {} : { tty }),
  }
}

/** Brings the secrets that the request itself does not override; undefined when there are none. @throws `storage_failed` */
async function deliveryFor(use: LoopUse, { command, env = {} }: CommandRequest): Promise<Delivery | undefined> {
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
