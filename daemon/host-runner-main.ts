/**
 * The composition root of runners: processes beside the daemon that run host commands, so that no byte of a stream passes
 * the daemon. With the word `terminal` it is for one command on a terminal. It ends with its daemon, however that ends,
 * and with it all of its commands; signals are for the daemon to take.
 */
import { Socket } from 'node:net'
import { checkHostControl } from './host/host-control.ts'
import { HOST_EXIT } from './host/host-run.ts'
import { HostSession } from './host/host-session.ts'
import { type StartIn, startInDirectory } from './host/host-start.ts'
import { startOnPipes } from './host/pipe-command.ts'
import { PipeStock } from './host/pipe-stock.ts'
import type { FromRunner, ToRunner } from './host/runner-message.ts'
import { RawStream } from './lib/raw-stream.ts'

const LOST = { code: HOST_EXIT.failed, reason: 'caller', bytesIn: 0, bytesOut: 0 } as const

/** The commands of this process, and the daemon at the other end of its channel. */
class Runner {
  readonly #sessions = new Map<number, HostSession>()
  readonly #startIn: StartIn
  readonly #once: boolean

  /** @param once whether it ends with its first command */
  constructor(startIn: StartIn, once: boolean) {
    this.#startIn = startIn
    this.#once = once
  }

  take(message: ToRunner, socket: unknown): void {
    if (message.type === 'end') this.#sessions.get(message.id)?.end()
    else if (socket instanceof Socket && !socket.destroyed) void this.#serve(message, socket)
    // It was closed on its way.
    else this.#tell({ type: 'ended', id: message.id, end: LOST })
  }

  /** Kills all commands. */
  async end(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.kill()))
  }

  async #serve({ id, head, command }: Extract<ToRunner, { type: 'run' }>, socket: Socket): Promise<void> {
    const stream = new RawStream(socket, head, checkHostControl)
    const session = new HostSession({
      stream,
      command,
      start: (wanted) => startInDirectory(wanted, this.#startIn),
      onBegan: (pid) => this.#tell({ type: 'began', id, pid }),
    })
    this.#sessions.set(id, session)
    const end = await session.ended
    this.#sessions.delete(id)
    this.#tell({ type: 'ended', id, end })
    await stream.closed
    if (this.#once && process.connected) process.disconnect()
  }

  #tell(message: FromRunner): void {
    if (process.connected) process.send?.(message)
  }
}

async function makeRunner(): Promise<Runner> {
  if (process.argv[2] === 'terminal') return new Runner((await import('./host/pty-command.ts')).startOnTerminal, true)
  const stock = new PipeStock()
  // Whoever comes first is told when that fails.
  stock.fill().catch(() => undefined)
  return new Runner((command, cwd) => startOnPipes(command, cwd, stock), false)
}

const runner = await makeRunner()

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => undefined)
// One session that goes wrong must not take the others with it.
for (const defect of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(defect, (error: unknown) => {
    const text = error instanceof Error ? error.stack : String(error)
    process.stderr.write(`a runner of host commands went wrong: ${text}\n`)
  })
}
process.once('disconnect', () => void runner.end().finally(() => process.exit()))
process.on('message', (message: ToRunner, socket: unknown) => runner.take(message, socket))
