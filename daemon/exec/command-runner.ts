import { setImmediate } from 'node:timers/promises'
import { LoopatError } from '@loopatd/protocol'
import type { ContainerEngine, EngineExec, ExecSpec } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/error-code.ts'
import type { AgentService } from './agent-service.ts'
import { type CommandMarks, EXEC_MARK, hasSession, type Session, signalSession } from './agent-session.ts'
import type { LoopUse } from './exec-access.ts'
import { type Delivery, deliverSecrets } from './exec-env.ts'
import { ShellExec } from './exec-shell.ts'

/** Milliseconds between TERM and KILL when a command is ended, and again until it is given up. */
const KILL_GRACE_MS = 2_000
/** Milliseconds in which the last words of a command that was ended must have been taken. */
const LAST_WORDS_MS = 100

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
  /** What it has started, as far as it can be found; undefined when its container does not run any more. */
  readonly session: () => Session | undefined
}

/** What the runner is made of. */
export interface CommandRunnerOptions {
  readonly engine: { readonly container: Pick<ContainerEngine, 'exec'> }
  readonly clock: Clock
  readonly marks: CommandMarks
  /** Agents, which run what they can; without them, and for the rest, the engine does. */
  readonly agents?: Pick<AgentService, 'exec'>
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
    const mark = this.#options.marks.next()
    const marked = { ...request, env: { ...request.env, [EXEC_MARK]: mark } }
    const session = () => {
      const containerPid = use.containerPid()
      return containerPid > 0 ? { containerPid, mark } : undefined
    }
    const byAgent = await this.#execByAgent(use, marked, signal)
    if (byAgent !== undefined) return { exec: byAgent, session, [Symbol.asyncDispose]: async () => byAgent.close() }
    const delivery = await deliveryFor(use, marked)
    try {
      const exec = await this.#exec(use, marked, { delivery, signal })
      return {
        exec,
        session,
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

  /**
   * Ends a command with all that it has started: TERM, then KILL. What a command that has ended by itself left behind
   * is meant to be there.
   */
  async end(started: StartedCommand): Promise<void> {
    if (!(await hasEnded(started.exec))) await this.endAll(started)
  }

  /** As {@link end}, but of a command that has ended, too, everything that it has started. */
  async endAll({ exec, session }: StartedCommand): Promise<void> {
    // Nobody reads any more: a command blocked on its output could otherwise not end.
    exec.stdout.resume()
    exec.stderr.resume()
    for (const name of ['SIGTERM', 'SIGKILL'] as const) {
      const wasThere = await exec.kill(name)
      const others = session()
      if (!(others !== undefined && (await signalSession(others, name))) && !wasThere) return
      if (await this.#isGone({ exec, session })) return
    }
  }

  /** Waits until a command has ended, and all that it has started, for a while. */
  async #isGone({ exec, session }: Pick<StartedCommand, 'exec' | 'session'>): Promise<boolean> {
    const { clock } = this.#options
    const over = this.#isOver(exec)
    const from = clock.monotonicMs()
    for (let pauseMs = 20; clock.monotonicMs() - from < KILL_GRACE_MS; pauseMs *= 2) {
      const rest = KILL_GRACE_MS - (clock.monotonicMs() - from)
      const pause = new AbortController()
      const isOver = await Promise.race([over, clock.sleep(rest, pause.signal).then(isFalse, isFalse)])
      pause.abort()
      if (!isOver) return false
      const left = session()
      if (left === undefined || !(await hasSession(left))) return true
      await clock.sleep(Math.min(pauseMs, rest))
    }
    return false
  }

  /** A client that does not read holds back the exit of a command, but not its end. Never rejects. */
  async #isOver({ exit, ended }: EngineExec): Promise<true> {
    const over = exit.then(isTrue, isTrue)
    if (ended === undefined) return await over
    await Promise.race([over, ended])
    return await Promise.race([over, this.#options.clock.sleep(LAST_WORDS_MS).then(isTrue)])
  }

  /** @returns undefined when it is the engine's turn: for other users, terminals, and where no agent answers */
  async #execByAgent(use: LoopUse, request: CommandRequest, signal: AbortSignal): Promise<EngineExec | undefined> {
    if (request.tty !== undefined || request.user !== undefined) return undefined
    const { env, ...spec } = execSpec(use, request)
    const wanted = { ...spec, env: { ...env, ...secretsFor(use, request) } }
    return await this.#options.agents?.exec(use, wanted, signal)
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

async function hasEnded({ exit }: EngineExec): Promise<boolean> {
  const ended = exit.then(isTrue, isFalse)
  return await Promise.race([ended, setImmediate(false)])
}

function isFalse(): false {
  return false
}

function isTrue(): true {
  return true
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

/** Secrets that the request itself does not override. */
function secretsFor(use: LoopUse, { env = {} }: CommandRequest): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(use.secrets).filter(([name]) => !Object.hasOwn(env, name)))
}

/** What brings the secrets to a command of the engine; undefined when there are none. @throws `storage_failed` */
async function deliveryFor(use: LoopUse, request: CommandRequest): Promise<Delivery | undefined> {
  const { command } = request
  const secrets = secretsFor(use, request)
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
