import { copyFile, rename, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { EngineExec } from '../engine/engine.ts'
import { EngineError, isEngineError } from '../engine/engine.ts'
import { abortable } from '../lib/abort.ts'
import type { Clock } from '../lib/clock.ts'
import { deferred } from '../lib/deferred.ts'
import { makeFifos, openFifo } from '../lib/fifo.ts'
import type { Logger } from '../log.ts'
import { AgentExec } from './agent-exec.ts'
import type { AgentRun } from './agent-room.ts'
import { type CommandMarks, EXEC_MARK, endOrphans, JOB_MARK } from './agent-session.ts'
import { type AgentSpec, isCarried } from './agent-text.ts'
import { LoopAgent } from './loop-agent.ts'
import { ReadBuffers } from './read-buffers.ts'

/** Attempts to begin one command; a shell that was killed while it got it costs one. */
const MAX_ATTEMPTS = 20
/** Milliseconds between looks at a shell that got a command and does not begin it, and until it is given up. */
const LOOK_MS = 100
const BEGIN_MS = 5_000
/** Milliseconds between TERM and KILL for commands whose daemon is gone. */
const ORPHAN_GRACE_MS = 2_000
const STUCK = 'a shell in the loop took the command and did not begin it'

/** What the service is made of. */
export interface AgentServiceOptions {
  readonly clock: Clock
  readonly log: Logger
  /** The agent's program on the host. */
  readonly program: string
  /** Control directory inside. */
  readonly inside: string
  readonly marks: CommandMarks
}

/** Where a command runs. */
export interface AgentPlace {
  /** Host pid of the container's first process, 0 when it does not run. */
  readonly containerPid: () => number
  /** Control directory of the loop on the host. */
  readonly control: string
}

/** Agents of all loops. A loop whose agent does not answer is no failure: the engine runs its commands. */
export class AgentService implements Disposable {
  readonly #options: AgentServiceOptions
  readonly #buffers = new ReadBuffers()
  readonly #loops = new Map<string, LoopAgent>()

  constructor(options: AgentServiceOptions) {
    this.#options = options
  }

  /**
   * Puts the agent where the launcher of a container finds it, and takes away what one of an earlier container has left.
   * @throws the file system's error
   */
  async prepare(control: string): Promise<void> {
    this.forget(control)
    await rm(join(control, 'room'), { recursive: true, force: true })
    const program = join(control, 'agent')
    await copyFile(this.#options.program, `${program}.new`)
    await rename(`${program}.new`, program)
    const answer = openFifo(join(control, 'answer'), 'hold')
    if (answer === undefined) await makeFifos([join(control, 'answer')])
    else new Socket({ fd: answer }).destroy()
  }

  /**
   * Takes loops over that ran before this daemon did: ends the commands of the daemon before it, when that was killed.
   * @param containerPids host pids of their containers' first processes
   * @returns how many
   */
  async adopt(containerPids: readonly number[]): Promise<number> {
    const { clock, marks } = this.#options
    return await endOrphans(
      containerPids,
      (mark) => marks.has(mark) || mark.startsWith(JOB_MARK),
      () => clock.sleep(ORPHAN_GRACE_MS),
    )
  }

  /** Has the agent of a loop that was started just now get ready: a command is to come. */
  expect(control: string): void {
    this.#agentOf(control).expect()
  }

  /** Lets go of a loop that does not run any more. */
  forget(control: string): void {
    this.#loops.get(control)?.close()
    this.#loops.delete(control)
  }

  /**
   * Runs a command by the agent of a loop.
   * @returns undefined when it cannot be done, and was not
   * @throws EngineError as a command's `exit` does, or the reason of the signal
   */
  async exec(place: AgentPlace, spec: AgentSpec, signal: AbortSignal): Promise<EngineExec | undefined> {
    if (!isCarried(spec)) return undefined
    const { clock } = this.#options
    const { control, containerPid } = place
    const agent = this.#agentOf(control)
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const run = await agent.run(spec, signal)
      if (run === undefined) return undefined
      const exec = new AgentExec({ run, mark: spec.env[EXEC_MARK], containerPid, clock, buffers: this.#buffers })
      if (await begun(exec, run, signal)) return exec
      exec.close()
    }
    return undefined
  }

  #agentOf(control: string): LoopAgent {
    const { inside, log } = this.#options
    const agent = this.#loops.get(control) ?? new LoopAgent({ control, inside, log })
    this.#loops.set(control, agent)
    return agent
  }

  [Symbol.dispose](): void {
    for (const control of [...this.#loops.keys()]) this.forget(control)
  }
}

/**
 * Waits until a command has begun.
 * @returns whether the command runs. When the signal aborts, it is ended, as soon as it can be found
 * @throws EngineError `connection_lost` when it cannot be known, or the reason of the signal
 */
async function begun(exec: AgentExec, run: AgentRun, signal: AbortSignal): Promise<boolean> {
  const beginning = beginningOf(exec, run)
  try {
    return await abortable(beginning, signal)
  } catch (error) {
    if (!signal.aborted && !isEngineError(error)) throw error
    const ended = beginning.then(
      async (isBegun) => isBegun && (await exec.kill('SIGKILL')),
      () => exec.killShell(),
    )
    void ended.catch(ignoreEngine).finally(() => exec.close())
    throw error
  }
}

/**
 * A shell that was killed while it got a command has not begun it, and never will. One that is held up is killed: it may
 * have read the whole command, and would run it later.
 * @throws EngineError `connection_lost` when it cannot be
 */
async function beginningOf(exec: AgentExec, run: AgentRun): Promise<boolean> {
  const stuck = deferred<never>()
  const since = performance.now()
  let wasRead = true
  let isEnding = false
  let isKnown = false
  const started = exec.started.finally(() => {
    isKnown = true
  })
  const end = async (isLate: boolean) => {
    isEnding = true
    const isKilled = await exec.killShell()
    // Had it begun before, it has said so: that is read by now.
    await setImmediate()
    if (isKnown) return
    if (isKilled) run.lose()
    else if (isLate) throw new EngineError('connection_lost', STUCK)
    isEnding = false
  }
  const timer = setInterval(() => {
    const isRead = run.isRead()
    const isLate = performance.now() - since >= BEGIN_MS
    // What it said before it ended may be on its way.
    if (!isEnding && (isLate || (!isRead && !wasRead))) end(isLate).catch(stuck.reject)
    wasRead = isRead
  }, LOOK_MS)
  try {
    return await Promise.race([started, stuck.promise])
  } finally {
    clearInterval(timer)
  }
}

function ignoreEngine(error: unknown): void {
  if (!isEngineError(error)) throw error
}
