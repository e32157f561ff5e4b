import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecControl } from '@loopatd/protocol'
import type { RawStream } from '../lib/raw-stream.ts'
import { type HostProcess, toStartError } from './host-process.ts'
import { type EndReason, HOST_EXIT, type HostCommand, type HostRunEnd, SPEAKER } from './host-run.ts'
import { OutputPump } from './output-pump.ts'
import { type CommandTrace, killAll, sessionLives, signalGroup, signalSession, traceOf } from './process-session.ts'

/** Milliseconds between TERM and KILL, and between two looks whether KILL is needed. */
const GRACE = { ms: 2000, lookMs: 50 } as const
/** Milliseconds that what a command left running may hold its outputs open. */
const LATE = { ms: 500, lookMs: 20 } as const
/** Signals by which a caller ends its command. */
const ENDING: readonly string[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM']
/** Longest time that a timer takes. */
const MAX_TIMER_MS = 2_147_483_647

/** Starts a command. @throws HostStartError, or the system's error */
export type StartCommand = (command: HostCommand) => Promise<HostProcess>

/** What a session needs. */
export interface HostSessionOptions {
  readonly stream: RawStream<ExecControl>
  readonly command: HostCommand
  readonly start: StartCommand
  /** The command runs, as the leader of its session; undefined when it has ended, and the number may be another's. */
  readonly onBegan: (pid: number | undefined) => void
}

/**
 * One command and its caller. A command that ends by itself ends alone: what it left in the background goes on, without
 * the streams. One that is ended, because its caller is gone or a limit is reached, is ended with all that it started, and
 * so is one that its caller has sent a signal to end.
 */
export class HostSession {
  /** Never rejects. */
  readonly ended: Promise<HostRunEnd>
  readonly #options: HostSessionOptions
  /** Aborted when the caller has got enough time to take what is left. */
  readonly #late = new AbortController()
  #process: HostProcess | undefined
  #reason: EndReason | null = null
  #graceMs: number = GRACE.ms
  /** Whether nothing but telling the caller is left to do. */
  #over = false
  #exited = false
  /** The caller has sent it a signal that is to end it. */
  #interrupted = false
  #ending: Promise<void> | undefined
  #pumps: readonly OutputPump[] = []
  #bytesIn = 0
  #bytesOut = 0

  constructor(options: HostSessionOptions) {
    this.#options = options
    options.stream.limitTo(this.#late.signal)
    void options.stream.closed.then(() => this.#force('caller'))
    this.ended = this.#run()
  }

  /** Ends the command: TERM, and KILL after a while. */
  end(): void {
    this.#force('stopped')
  }

  /** Kills the command at once. Resolves when nothing is left of it. */
  async kill(): Promise<void> {
    this.#graceMs = 0
    if (this.#process !== undefined && !this.#over) await killAll(this.#trace(this.#process.pid))
    this.#force('stopped')
    await this.#ending
  }

  async #run(): Promise<HostRunEnd> {
    const { stream, command } = this.#options
    const timer = setTimeout(() => this.#force('time'), Math.min(command.maxMs, MAX_TIMER_MS))
    const code = await this.#command().catch((error: unknown) => this.#explain(error))
    if (this.#reason !== null) this.#late.abort()
    this.#over = true
    const told = this.#conclude(code)
    await stream.close({ type: 'exit', code: told })
    clearTimeout(timer)
    await this.#ending
    return { code: told, reason: this.#reason, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut }
  }

  /** @returns its exit code when it has ended and its output was passed on */
  async #command(): Promise<number> {
    const { stream, command, start, onBegan } = this.#options
    const process = await start(command)
    this.#process = process
    onBegan(process.pid)
    void process.exited.then(() => {
      // Who was told to end by its caller leaves nothing behind either; at this moment the session is surely its own.
      if (this.#interrupted) this.#ending ??= this.#endAll(process.pid)
      this.#exited = true
      onBegan(undefined)
    })
    if (this.#reason !== null) this.#ending = this.#endAll(process.pid)
    await stream.say({ type: 'started' })
    this.#pumps = [
      new OutputPump(process.stdout, stream.stdout, (bytes) => this.#admit(bytes)),
      ...(process.stderr ? [new OutputPump(process.stderr, stream.stderr, (bytes) => this.#admit(bytes))] : []),
    ]
    const stopListening = stream.onControl((message) => this.#control(process, message))
    this.#feed(process)
    const code = await process.exited
    await this.#drain()
    stopListening()
    process.stdin.destroy()
    return code
  }

  #feed({ stdin }: HostProcess): void {
    const given = this.#options.stream.stdin
    // Who reads no more gets no more: what still comes is dropped, and does not hold up the caller.
    stdin.on('error', () => given.destroy())
    stdin.once('close', () => given.destroy())
    given.pipe(stdin)
    given.on('data', (chunk: Buffer) => {
      this.#bytesIn += chunk.length
    })
  }

  #control(process: HostProcess, message: ExecControl): void {
    if (this.#exited) return
    if (message.type === 'resize') process.resize(message.cols, message.rows)
    else {
      this.#interrupted ||= ENDING.includes(message.signal)
      signalGroup(process.pid, message.signal)
    }
  }

  /** Counts before anything is sent. */
  #admit(bytes: number): number {
    const admitted = Math.min(bytes, this.#options.command.maxOutputBytes - this.#bytesOut)
    this.#bytesOut += admitted
    if (admitted < bytes) {
      this.#force('output')
      for (const pump of this.#pumps) pump.giveUp()
    }
    return admitted
  }

  /** Waits for the rest of the output: some time when something holds it open, but always while the caller is behind. */
  async #drain(): Promise<void> {
    const { stdout } = this.#options.stream
    const all = Promise.all(this.#pumps.map(({ ended }) => ended)).then(() => true)
    for (let idleMs = 0; idleMs < LATE.ms; ) {
      if (await Promise.race([all, sleep(LATE.lookMs, false)])) break
      if (this.#pumps.every(({ waits }) => waits)) idleMs += LATE.lookMs
      if (this.#reason === null) continue
      // Nobody is behind for ever whose command was ended.
      if (stdout.destroyed) break
      this.#late.abort()
    }
    for (const pump of this.#pumps) pump.giveUp()
  }

  #force(reason: EndReason): void {
    if (this.#over) {
      if (reason === 'time') this.#late.abort()
      return
    }
    // Who is gone when the command has ended by itself does not end what that left behind.
    if (this.#reason !== null || (this.#exited && reason === 'caller')) return
    this.#reason = reason
    if (this.#process !== undefined) this.#ending ??= this.#endAll(this.#process.pid)
  }

  /** Where to find what there is of the command. Once it has ended, another one's session may have its number. */
  #trace(pid: number): CommandTrace {
    return traceOf(this.#exited ? undefined : pid, this.#options.command.env)
  }

  /** Never rejects: what can be reached without looking around is always killed. */
  async #endAll(pid: number): Promise<void> {
    try {
      if (this.#exited) await killAll(this.#trace(pid))
      else await this.#endTree(pid)
    } catch {
      if (!this.#exited) signalGroup(pid, 'SIGKILL')
    }
  }

  async #endTree(pid: number): Promise<void> {
    const { env } = this.#options.command
    const deadline = performance.now() + this.#graceMs
    // What stands still does not see the one before it goes on.
    for (const signal of ['SIGTERM', 'SIGCONT'] as const) if (this.#graceMs > 0) await signalSession(pid, signal)
    for (; performance.now() < deadline && this.#graceMs > 0; await sleep(GRACE.lookMs)) {
      // From now on, another session may get the number.
      if (!(await sessionLives(pid))) return await killAll(traceOf(undefined, env))
    }
    await killAll(traceOf(pid, env))
  }

  /** Tells the caller why there is nothing. @returns the code for it */
  #explain(error: unknown): number {
    if (this.#process !== undefined) this.#force('stopped')
    const { code, message } = toStartError(error, this.#options.command.path)
    this.#say(message)
    return code
  }

  /** Tells the caller why there is no more. @returns the code for it */
  #conclude(code: number): number {
    const { maxMs, maxOutputBytes } = this.#options.command
    if (this.#reason === 'time') {
      this.#say(`the command was ended: it took longer than ${maxMs / 1000} s`)
      return HOST_EXIT.time
    }
    if (this.#reason === 'output') {
      this.#say(`the command was ended: it wrote more than ${maxOutputBytes} bytes`)
      return HOST_EXIT.failed
    }
    if (this.#reason === 'stopped') this.#say('the command was ended by the daemon')
    return code
  }

  #say(text: string): void {
    const { stream, command } = this.#options
    if (!stream.stderr.destroyed)
      stream.stderr.write(`${SPEAKER}: ${text}${command.size === undefined ? '\n' : '\r\n'}`)
  }
}
