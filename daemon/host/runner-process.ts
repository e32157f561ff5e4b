import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Deferred, deferred } from '../lib/deferred.ts'
import { HOST_EXIT, type HostCommand, type HostRun, type HostRunEnd } from './host-run.ts'
import { killAll, signalGroup, traceOf } from './process-session.ts'
import type { FromRunner, ToRunner } from './runner-message.ts'

/** Milliseconds that a runner may take to kill its commands and to leave. */
const LEAVE_MS = 1500

/** What a runner is started with. */
export interface RunnerProcessOptions {
  /** The program, `host-runner-main.js`. */
  readonly main: URL
  /** Its whole environment; commands get none of it. */
  readonly env: Readonly<Record<string, string>>
  /** Whether it is for one command on a terminal. */
  readonly onTerminal: boolean
}

/** A command that the process was given. */
interface Entry {
  readonly socket: Socket
  readonly command: HostCommand
  readonly ended: Deferred<HostRunEnd>
  readonly onBegan: () => void
  /** Of its first process, while that runs. */
  pid: number | undefined
}

/**
 * A runner, as the daemon sees it. When it is gone, all that its commands started is killed from here, should it not have
 * come to that.
 */
export class RunnerProcess {
  /** Resolves when it is gone and nothing is left of its commands. Never rejects. */
  readonly gone: Promise<void>
  readonly #child: ChildProcess
  readonly #entries = new Map<number, Entry>()
  #nextId = 1
  #alive = true
  #dismissed = false

  constructor({ main, env, onTerminal }: RunnerProcessOptions) {
    this.#child = fork(main, onTerminal ? ['terminal'] : [], {
      serialization: 'advanced',
      env: { ...env },
      execArgv: [],
      // The daemon alone decides when it ends, not the terminal that the daemon may have.
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#child.on('message', (message: FromRunner) => this.#hear(message))
    const left = new Promise<void>((resolve) => {
      this.#child.once('exit', () => resolve())
      this.#child.once('error', () => resolve())
      this.#child.once('disconnect', () => void this.#seeOff().then(resolve))
    })
    this.gone = left.then(() => this.#cleanUp())
  }

  /** Whether it takes commands. */
  get alive(): boolean {
    return this.#alive && this.#child.connected
  }

  /** Of itself. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Hands a connection and a command on. @param onBegan called when the command runs */
  run(socket: Socket, head: Buffer, command: HostCommand, onBegan: () => void): HostRun {
    const id = this.#nextId++
    const entry: Entry = { socket, command, ended: deferred(), onBegan, pid: undefined }
    this.#entries.set(id, entry)
    this.#send({ type: 'run', id, head: stopReading(socket, head), command }, socket)
    return { ended: entry.ended.promise, end: () => this.#end(id) }
  }

  /** Lets it go, and with it all of its commands at once. Resolves when nothing is left. Idempotent. */
  async dispose(): Promise<void> {
    this.#alive = false
    this.#dismissed = true
    if (this.#child.connected) this.#child.disconnect()
    await this.gone
  }

  #end(id: number): void {
    if (this.#entries.has(id)) this.#send({ type: 'end', id })
  }

  #send(message: ToRunner, socket?: Socket): void {
    // A failure is seen as the end of the process.
    if (!this.#child.connected) return
    this.#child.send(message, socket, {}, () => socket?.destroy())
  }

  #hear(message: FromRunner): void {
    const entry = this.#entries.get(message.id)
    if (entry === undefined) return
    if (message.type === 'began') {
      entry.pid = message.pid
      if (message.pid !== undefined) entry.onBegan()
    } else {
      this.#entries.delete(message.id)
      entry.ended.resolve(message.end)
    }
  }

  /** It leaves by itself, after it has killed its commands; or it hangs. */
  async #seeOff(): Promise<void> {
    this.#alive = false
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null) return
    const exited = once(this.#child, 'exit')
    await Promise.race([exited, sleep(LEAVE_MS)])
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL')
    await exited
  }

  async #cleanUp(): Promise<void> {
    this.#alive = false
    const entries = [...this.#entries.values()]
    this.#entries.clear()
    for (const { pid } of entries) if (pid !== undefined) signalGroup(pid, 'SIGKILL')
    for (const { socket, command, pid, ended } of entries) {
      socket.destroy()
      // Their groups are killed; when we cannot look for the others, there is nothing to be done.
      await killAll(traceOf(pid, command.env)).catch(() => undefined)
      ended.resolve({ code: HOST_EXIT.failed, reason: this.#dismissed ? 'stopped' : 'lost', bytesIn: 0, bytesOut: 0 })
    }
  }
}

/**
 * Makes sure that not a byte is read here any more, for it would be lost: pausing a socket alone does not, and Node.js has
 * no public way to. And the server that accepted it is not to wait for whoever has it next.
 * @returns what came until now
 */
function stopReading(socket: Socket, head: Buffer): Buffer {
  socket.removeAllListeners('data').removeAllListeners('readable').removeAllListeners('end').pause()
  socket.on('error', () => undefined)
  const read: unknown = socket.read()
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle === 'object' && handle !== null && 'readStop' in handle && typeof handle.readStop === 'function') {
    handle.readStop()
  }
  Reflect.set(socket, 'server', null)
  return Buffer.isBuffer(read) ? Buffer.concat([head, read]) : head
}
