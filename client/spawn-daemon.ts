/** Starting the daemon when none answers. */
import { spawn } from 'node:child_process'
import { accessSync, closeSync, constants, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { delimiter, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, isLoopatError, LoopatError } from '@loopatd/protocol/error'
import type { Workspace } from '@loopatd/protocol/socket'
import { checkDaemon } from './check-daemon.ts'
import { dial } from './dial.ts'
import { StartTurn } from './start-turn.ts'
import { complaintOf, installedUnits, systemctl, type Units } from './systemd.ts'

/** Milliseconds that a daemon may take until its socket answers. */
export const START_MS = 15_000
/** Milliseconds between two looks at the socket. */
const POLL_MS = 50
/** Size of the file for the daemon's stderr beyond which it begins anew, in bytes. */
const MAX_WORDS_BYTES = 1_048_576
/** Bytes of the daemon's last words that are shown. */
const TAIL_BYTES = 2000

/** How to start the daemon. */
export interface AutostartOptions {
  /** Program to start; default: what {@link findDaemon} finds. */
  readonly command?: string | undefined
  /** Told once, before the daemon is started: the program, or the unit. */
  readonly onStarting?: ((command: string) => void) | undefined
  /** Milliseconds until the daemon must answer. */
  readonly timeoutMs?: number | undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error) return false
    throw error
  }
}

/** `bin/loopatd` of the daemon's package next to this one, when it is installed. */
function packagedDaemon(): string | undefined {
  try {
    const manifest = createRequire(import.meta.url).resolve('@loopatd/daemon/package.json')
    return join(dirname(manifest), 'bin', 'loopatd')
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined
    throw error
  }
}

/**
 * Finds the program `loopatd`: the environment's `LOOPATD`, the daemon's package beside this one, or `PATH`.
 * @returns an absolute path, or undefined when it is not installed
 */
export function findDaemon(env: Readonly<Record<string, string | undefined>> = process.env): string | undefined {
  if (env.LOOPATD) return resolve(env.LOOPATD)
  const inPath = (env.PATH ?? '').split(delimiter).filter((directory) => directory.startsWith('/'))
  const candidates = [packagedDaemon(), ...inPath.map((directory) => join(directory, 'loopatd'))]
  return candidates.find((candidate) => candidate !== undefined && isExecutable(candidate))
}

/**
 * Starts the daemon of a workspace and waits until its socket answers: through the user's systemd where the daemon is
 * installed in it, else detached. Clients that do so at the same time all succeed: one
 * starts it and the others wait; where more than one is started, one daemon wins and the others leave.
 * @returns a connection to it
 * @throws LoopatError `daemon_unreachable` with the daemon's last words when it ends or does not answer in time
 */
export async function spawnDaemon(
  workspace: Workspace,
  options: AutostartOptions = {},
  signal?: AbortSignal,
): Promise<Socket> {
  const units = options.command === undefined ? await installedUnits(workspace, process.env) : undefined
  if (units !== undefined) {
    options.onStarting?.(units.service)
    await startUnits(units, signal)
    return await dial(workspace.socket, signal)
  }
  const command = options.command ?? findDaemon()
  if (command === undefined) {
    throw new LoopatError('daemon_unreachable', 'no daemon runs, and the program loopatd is not found', {
      next: 'Install @loopatd/daemon, or set LOOPATD to the path of loopatd.',
    })
  }
  options.onStarting?.(command)
  const words = openWords(workspace)
  const turn = words === undefined ? undefined : new StartTurn(words.path)
  try {
    const start = () => new DaemonProcess(command, words?.descriptor)
    const limitMs = options.timeoutMs ?? START_MS
    return await waitForSocket({ path: workspace.socket, turn, start, limitMs, tail: () => readTail(words) }, signal)
  } finally {
    turn?.leave()
    if (words !== undefined) closeSync(words.descriptor)
  }
}

/** @throws LoopatError `daemon_unreachable` with the reason: a socket that cannot be made has no words of its own */
async function startUnits({ socket, service }: Units, signal: AbortSignal | undefined): Promise<void> {
  try {
    await systemctl(['start', socket, service], process.env, signal)
  } catch (error) {
    const command = isLoopatError(error, 'daemon_unreachable') ? findDaemon() : undefined
    const complaint = command === undefined ? undefined : await checkDaemon(command, process.env, signal)
    if (complaint === undefined) throw error
    throw new LoopatError('daemon_unreachable', `systemd cannot start the daemon\n${complaint}`, {
      next: 'Correct that, then try again.',
      cause: error,
    })
  }
}

/** Why the daemon of a workspace does not answer, when systemd tries to run it and it says so. */
export async function whyUnitFails(workspace: Workspace): Promise<string | undefined> {
  const units = await installedUnits(workspace, process.env)
  return units === undefined ? undefined : await complaintOf(units.service, process.env)
}

/** The started process, as far as its starter cares. */
class DaemonProcess {
  /** How it ended; undefined while it runs. */
  ended: string | undefined
  /** Whether it left because another daemon has the workspace. */
  gaveWay = false

  constructor(command: string, output: number | undefined) {
    // A session of its own: Ctrl-C in the terminal that happened to start it must not reach it.
    const child = spawn(command, [], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', output ?? 'ignore', output ?? 'ignore'],
    })
    child.once('error', (error) => {
      this.ended ??= `${command} cannot be started: ${error.message}`
    })
    child.once('exit', (code, signal) => {
      this.gaveWay = code === EXIT.conflict.code
      this.ended ??= signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`
    })
    child.unref()
  }
}

interface Wait {
  readonly path: string
  /** Whose turn it is to start a daemon; undefined when that cannot be known: then everybody does. */
  readonly turn: StartTurn | undefined
  readonly start: () => DaemonProcess
  /** Milliseconds for which another client's daemon is waited for, and then for one's own. */
  readonly limitMs: number
  readonly tail: () => string
}

async function waitForSocket({ path, turn, start, limitMs, tail }: Wait, signal?: AbortSignal): Promise<Socket> {
  let deadline = performance.now() + limitMs
  let child: DaemonProcess | undefined
  for (;;) {
    // Looked at before the socket: a daemon that ends between the two looks may have been answering.
    const ended = child?.gaveWay ? undefined : child?.ended
    try {
      return await dial(path, signal)
    } catch (error) {
      if (!isLoopatError(error, 'daemon_unreachable')) throw error
    }
    if (ended !== undefined) throw startFailed(`the daemon did not start: ${ended}`, tail())
    if (performance.now() > deadline) throw startFailed(`the daemon did not answer within ${limitMs} ms`, tail())
    if (child === undefined && (turn === undefined || turn.isMine)) {
      child = start()
      deadline = performance.now() + limitMs
    }
    await (child === undefined ? Promise.race([turn?.taken, sleep(POLL_MS)]) : sleep(POLL_MS))
  }
}

function startFailed(message: string, tail: string): LoopatError {
  return new LoopatError('daemon_unreachable', tail === '' ? message : `${message}\n${tail}`, {
    next: 'Run `loopatd` in the foreground to see what is wrong, and `loopctl doctor` for this host.',
  })
}

/** Where the daemon writes what it cannot log: crashes, and why it does not start. */
interface Words {
  readonly path: string
  readonly descriptor: number
  /** Size before this start. */
  readonly offset: number
}

/** Opens the file for the daemon's stderr. A workspace that cannot be written must not hide why the daemon fails. */
function openWords(workspace: Workspace): Words | undefined {
  try {
    const directory = join(workspace.home, 'log')
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const path = join(directory, 'loopatd.stderr')
    const descriptor = openSync(path, 'a+', 0o600)
    if (fstatSync(descriptor).size > MAX_WORDS_BYTES) ftruncateSync(descriptor)
    return { path, descriptor, offset: fstatSync(descriptor).size }
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined
    throw error
  }
}

function readTail(words: Words | undefined): string {
  if (words === undefined) return ''
  const { size } = fstatSync(words.descriptor)
  const start = Math.max(words.offset, size - TAIL_BYTES)
  const buffer = Buffer.alloc(Math.max(0, size - start))
  const read = readSync(words.descriptor, buffer, 0, buffer.length, start)
  return buffer.toString('utf8', 0, read).trim()
}
