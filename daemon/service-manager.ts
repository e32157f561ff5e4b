/**
 * The daemon's side of a service manager that speaks systemd's protocol: it takes over a socket, says when it is ready
 * and when it stops, and keeps a watchdog informed. Where nobody asked for any of it, all of it does nothing.
 */
import { execFile } from 'node:child_process'
import { isLoopatError, LoopatError } from '@loopatd/protocol'
import type { Clock } from './lib/clock.ts'
import type { Logger } from './log.ts'

/** The first descriptor that a service manager passes, see sd_listen_fds(3). */
const FIRST_DESCRIPTOR = 3
/** Milliseconds that a notification may take. */
const NOTIFY_MS = 5000
/** Milliseconds that a daemon that cannot start takes to end: the pause between two attempts, and the time to ask why. */
const HOLD_MS = 3000
/** Longest reason that a manager is told, in characters. */
const MAX_REASON = 500
/** Milliseconds between two attempts to prove that the daemon works, after one that failed. */
const RETRY_MS = 500

/** Variables that are meant for this process alone. */
const HANDOVER = [
  'LISTEN_FDNAMES',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_PIDFDID',
  'NOTIFY_SOCKET',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
]

/** What a service manager gave to this process. */
export interface Handover {
  /** A socket that is listened on already. */
  readonly descriptor: number | undefined
  /** Where notifications go. */
  readonly notifySocket: string | undefined
  /** Milliseconds without a sign of life after which this process is ended. */
  readonly watchdogMs: number | undefined
}

/** A number of at least 1; what is none was not meant for us. */
function positive(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,15}$/.test(text) ? Number(text) : undefined
}

/**
 * Takes what is meant for this process out of its environment, so that no program it starts believes to be meant.
 * @param env read, and rid of all such variables, also of those that are meant for another process
 * @param pid of this process
 */
export function takeHandover(env: NodeJS.ProcessEnv, pid: number): Handover {
  const { LISTEN_FDS, LISTEN_PID, NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC } = env
  for (const name of HANDOVER) delete env[name]
  const isListener = positive(LISTEN_PID) === pid && positive(LISTEN_FDS) !== undefined
  const isWatched = WATCHDOG_PID === undefined || positive(WATCHDOG_PID) === pid
  const watchdogUs = isWatched ? positive(WATCHDOG_USEC) : undefined
  return {
    descriptor: isListener ? FIRST_DESCRIPTOR : undefined,
    notifySocket: NOTIFY_SOCKET === '' ? undefined : NOTIFY_SOCKET,
    watchdogMs: watchdogUs === undefined ? undefined : watchdogUs / 1000,
  }
}

/** What a service manager needs. */
export interface ServiceManagerOptions {
  readonly handover: Handover
  /** Environment of the program that notifies. */
  readonly env: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Tells the service manager how the daemon is. Node.js has no datagram sockets in the file system, so each notification
 * is a run of systemd-notify, which waits until it has been received.
 */
export class ServiceManager {
  readonly #options: ServiceManagerOptions
  readonly #end = new AbortController()

  constructor(options: ServiceManagerOptions) {
    this.#options = options
  }

  /**
   * Says that clients can connect.
   * @throws LoopatError `internal` when that cannot be said: the manager would wait in vain
   */
  async ready(): Promise<void> {
    await this.#notify('READY=1')
  }

  /**
   * Says that the daemon is about to end.
   * @param limitMs milliseconds that it may take at most
   */
  async stopping(limitMs: number): Promise<void> {
    await this.#tryToNotify('STOPPING=1', `EXTEND_TIMEOUT_USEC=${Math.ceil(limitMs * 1000)}`)
  }

  /**
   * Gives a sign of life twice within the watchdog's time, from now on until disposal; each time only after the daemon
   * has proven that it works. Does nothing without a watchdog.
   * @param prove resolves when the daemon does what it is for; what keeps it from it from outside is no matter
   */
  watch(prove: (signal: AbortSignal) => Promise<void>): void {
    const { watchdogMs } = this.#options.handover
    if (watchdogMs !== undefined) void this.#watch(prove, watchdogMs / 2)
  }

  [Symbol.dispose](): void {
    this.#end.abort()
  }

  async #watch(prove: (signal: AbortSignal) => Promise<void>, periodMs: number): Promise<void> {
    const { signal } = this.#end
    const { clock } = this.#options
    try {
      for (;;) {
        await clock.sleep(periodMs, signal)
        // Half of what is left, so that one slow answer is not the end.
        while (!(await this.#isProven(prove, periodMs / 2))) await clock.sleep(RETRY_MS, signal)
        await this.#tryToNotify('WATCHDOG=1')
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  async #isProven(prove: (signal: AbortSignal) => Promise<void>, limitMs: number): Promise<boolean> {
    const limit = AbortSignal.any([this.#end.signal, AbortSignal.timeout(limitMs)])
    try {
      await prove(limit)
      return true
    } catch (err) {
      this.#end.signal.throwIfAborted()
      this.#options.log.warn({ err }, 'the daemon does not answer itself')
      return false
    }
  }

  async #tryToNotify(...words: string[]): Promise<void> {
    try {
      await this.#notify(...words)
    } catch (err) {
      this.#options.log.warn({ err }, 'the service manager could not be told')
    }
  }

  async #notify(...words: string[]): Promise<void> {
    const { handover, env } = this.#options
    if (handover.notifySocket === undefined) return
    await systemdNotify(words, { ...env, NOTIFY_SOCKET: handover.notifySocket })
  }
}

/**
 * Says why the daemon cannot start, and takes its time to end. The manager would try again soon and for ever, which
 * costs; and clients that wait meanwhile can ask it for the reason. Does nothing without a manager.
 * @param reason may have several lines
 * @param signal ends the wait
 */
export async function holdFailure(
  { handover, env, clock }: Omit<ServiceManagerOptions, 'log'>,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  if (handover.notifySocket === undefined) return
  const status = reason.replace(/\s+/g, ' ').trim().slice(0, MAX_REASON)
  try {
    await systemdNotify([`STATUS=${status}`], { ...env, NOTIFY_SOCKET: handover.notifySocket })
    await clock.sleep(HOLD_MS, signal)
  } catch (error) {
    // The reason was printed, too; being told to stop is no failure.
    if (!isLoopatError(error, 'internal') && !signal.aborted) throw error
  }
}

function systemdNotify(words: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile('systemd-notify', [...words], { env, timeout: NOTIFY_MS }, (error, _stdout, stderr) => {
      if (error === null) return resolve()
      const why = stderr.trim() || error.message
      reject(
        new LoopatError('internal', `systemd-notify ${words.join(' ')} failed: ${why}`, {
          next: 'Install the package that holds systemd-notify, usually systemd.',
          cause: error,
        }),
      )
    })
  })
}
