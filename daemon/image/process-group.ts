import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds a group has to clean up after TERM, before KILL. */
const GRACE_MS = 10_000

/** How a process ended; `error` is set when it could not be started at all. */
export interface ProcessEnd {
  readonly code: number | null
  readonly error: NodeJS.ErrnoException | undefined
}

/** A host process in a process group of its own. */
export interface ProcessGroup {
  readonly stdout: Readable
  readonly stderr: Readable
  /** Resolves when it has ended and its output was closed; never rejects. */
  readonly ended: Promise<ProcessEnd>
  /** Ends the whole group: TERM, then KILL. Resolves when the process has ended. Idempotent. */
  end(): Promise<void>
}

/** Starts a program, without a shell and without input, with exactly this environment. */
export function startGroup(command: string, args: readonly string[], env: NodeJS.ProcessEnv): ProcessGroup {
  const child = spawn(command, [...args], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' })
  const ended = untilClosed(child)
  let over = false
  void ended.then(() => {
    over = true
  })
  const signal = (name: NodeJS.Signals) => {
    if (!over && child.pid !== undefined) killGroup(child.pid, name)
  }
  const end = async () => {
    signal('SIGTERM')
    // Nobody reads any more: a writer that blocks on a full pipe would not see the signal's effect.
    child.stdout.destroy()
    const waiting = new AbortController()
    const patience = sleep(GRACE_MS, undefined, { signal: waiting.signal }).then(
      () => signal('SIGKILL'),
      () => undefined,
    )
    await ended
    waiting.abort()
    await patience
  }
  return { stdout: child.stdout, stderr: child.stderr, ended, end }
}

async function untilClosed(child: ReturnType<typeof spawn>): Promise<ProcessEnd> {
  const failed = new Promise<ProcessEnd>((resolve) => child.once('error', (error) => resolve({ code: null, error })))
  const closed = once(child, 'close').then(([code]: (number | null)[]) => ({ code: code ?? null, error: undefined }))
  return await Promise.race([failed, closed.catch((error: NodeJS.ErrnoException) => ({ code: null, error }))])
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch (error) {
    // It ended by itself in this moment.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
