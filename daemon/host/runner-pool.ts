import type { Socket } from 'node:net'
import type { Clock } from '../lib/clock.ts'
import { HOST_EXIT, type HostCommand, type HostRun, type HostRunEnd, type HostRunner } from './host-run.ts'
import { RunnerProcess, type RunnerProcessOptions } from './runner-process.ts'

/** Milliseconds without a command after which runners go. */
const IDLE_MS = 600_000
/** Milliseconds that commands have to end when the pool does; what is left then is killed. */
const END_MS = 3000

/** What a pool needs. */
export interface RunnerPoolOptions extends Omit<RunnerProcessOptions, 'onTerminal'> {
  readonly clock: Clock
  /** Default: ten minutes. */
  readonly idleMs?: number
}

/**
 * Processes that run host commands: one for all that need no terminal, and one for each that does, of which one is made
 * ahead. None of them is there before it is wanted, nor long after.
 */
export class RunnerPool implements HostRunner {
  readonly #options: RunnerPoolOptions
  readonly #runs = new Set<HostRun>()
  /** All that are not gone. */
  readonly #processes = new Set<RunnerProcess>()
  #shared: RunnerProcess | undefined
  #spare: RunnerProcess | undefined
  #idle = new AbortController()
  #disposed = false

  constructor(options: RunnerPoolOptions) {
    this.#options = options
  }

  /** Process ids of its runners. */
  get pids(): number[] {
    return [...this.#processes].flatMap(({ pid }) => (pid === undefined ? [] : [pid]))
  }

  run(socket: Socket, head: Buffer, command: HostCommand): HostRun {
    this.#idle.abort()
    const run = this.#start(socket, head, command)
    this.#runs.add(run)
    void run.ended.then(() => {
      this.#runs.delete(run)
      this.#rest()
    })
    return run
  }

  warm(): void {
    if (this.#disposed) return
    if (!this.#shared?.alive) this.#shared = this.#fork(false)
    if (!this.#spare?.alive) this.#spare = this.#fork(true)
    this.#rest()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    this.#idle.abort()
    const over = Promise.all([...this.#runs].map((run) => run.ended))
    for (const run of this.#runs) run.end()
    await Promise.race([over, this.#options.clock.sleep(END_MS)])
    await this.#release()
    await Promise.all([...this.#processes].map((each) => each.dispose()))
  }

  #start(socket: Socket, head: Buffer, command: HostCommand): HostRun {
    if (this.#disposed || socket.destroyed) {
      socket.destroy()
      const end: HostRunEnd = {
        code: HOST_EXIT.failed,
        reason: this.#disposed ? 'stopped' : 'caller',
        bytesIn: 0,
        bytesOut: 0,
      }
      return { ended: Promise.resolve(end), end: () => undefined }
    }
    if (command.size === undefined) {
      if (!this.#shared?.alive) this.#shared = this.#fork(false)
      return this.#shared.run(socket, head, command, () => undefined)
    }
    const own = this.#spare?.alive ? this.#spare : this.#fork(true)
    this.#spare = undefined
    // Not before this one runs: both would be slower.
    return own.run(socket, head, command, () => this.#refill())
  }

  #refill(): void {
    if (!this.#disposed && !this.#spare?.alive) this.#spare = this.#fork(true)
  }

  #fork(onTerminal: boolean): RunnerProcess {
    const { main, env } = this.#options
    const made = new RunnerProcess({ main, env, onTerminal })
    this.#processes.add(made)
    void made.gone.then(() => this.#processes.delete(made))
    return made
  }

  /** Lets the runners go after some time without commands. */
  #rest(): void {
    this.#idle.abort()
    if (this.#runs.size > 0 || this.#disposed) return
    this.#idle = new AbortController()
    const { clock, idleMs = IDLE_MS } = this.#options
    void clock.sleep(idleMs, this.#idle.signal).then(
      () => this.#release(),
      () => undefined,
    )
  }

  async #release(): Promise<void> {
    const idle = [this.#shared, this.#spare]
    this.#shared = undefined
    this.#spare = undefined
    await Promise.all(idle.map((each) => each?.dispose()))
  }
}
