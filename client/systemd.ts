/** The daemon as units of the user's systemd: which they are, whether they are installed, and how they are started. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LoopatError } from '@loopatd/protocol/error'
import { type Workspace, workspaceName } from '@loopatd/protocol/socket'

/** Milliseconds that the manager may take to say that it is there. */
const ANSWER_MS = 5000
/** How often a service that does not start is asked why, and milliseconds in between: it is silent between two attempts. */
const COMPLAINT = { tries: 15, waitMs: 200 } as const
/** Commands of systemctl that start services. */
const STARTS = ['enable', 'restart', 'start']

/** Variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The units of a workspace. */
export interface Units {
  /** Directory of the user's own units. */
  readonly directory: string
  readonly service: string
  readonly socket: string
  /** Files that must be there for the two to work; the first is the service's. */
  readonly files: readonly string[]
  /** Names the home of a workspace other than `~/.loopat`: the templates are shared by all of those. */
  readonly dropIn: string | undefined
}

/** Names the units of a workspace: those of `~/.loopat` are plain, any other is an instance by its name. */
export function unitsOf(workspace: Workspace, env: Environment): Units {
  const config = env.XDG_CONFIG_HOME?.startsWith('/') ? env.XDG_CONFIG_HOME : join(env.HOME || homedir(), '.config')
  const directory = join(config, 'systemd', 'user')
  const isDefault = workspaceName(workspace.home, workspace.home) === workspace.name
  const stem = isDefault ? 'loopatd' : `loopatd@${workspace.name}`
  const file = isDefault ? 'loopatd' : 'loopatd@'
  return {
    directory,
    service: `${stem}.service`,
    socket: `${stem}.socket`,
    files: [`${file}.service`, `${file}.socket`].map((name) => join(directory, name)),
    dropIn: isDefault ? undefined : join(directory, `${stem}.service.d`, 'home.conf'),
  }
}

/** Whether the units of a workspace are installed. */
export function isInstalled({ files, dropIn }: Units): boolean {
  return [...files, ...(dropIn === undefined ? [] : [dropIn])].every((path) => existsSync(path))
}

/** Whether a systemd of the user answers. Hosts without one, and logins that do not reach it, have none. */
export async function hasManager(env: Environment): Promise<boolean> {
  return (await run(['show-environment'], { env, timeout: ANSWER_MS })).failure === undefined
}

/** Finds the units of a workspace, when they are installed and the manager that runs them answers. */
export async function installedUnits(workspace: Workspace, env: Environment): Promise<Units | undefined> {
  const units = unitsOf(workspace, env)
  return isInstalled(units) && (await hasManager(env)) ? units : undefined
}

/**
 * Runs `systemctl --user`.
 * @param args a command, then its options and units; of those that start something the last one is the service
 * @returns what it printed
 * @throws LoopatError `daemon_unreachable` with its words, and those of the service that it could not start; `cancelled`
 */
export async function systemctl(args: readonly string[], env: Environment, signal?: AbortSignal): Promise<string> {
  const { output, failure } = await run(args, { env, ...(signal === undefined ? {} : { signal }) })
  if (failure === undefined) return output
  if (signal?.aborted)
    throw new LoopatError('cancelled', `systemctl ${args[0]} was cancelled`, { cause: signal.reason })
  const [command = '', unit = ''] = [args[0], args.at(-1)]
  const why = STARTS.includes(command) ? await complaintOf(unit, env) : undefined
  throw new LoopatError('daemon_unreachable', `systemctl --user ${args.join(' ')} failed: ${why ?? failure}`, {
    next: 'See why with `systemctl --user status`, and `loopctl daemon logs`.',
  })
}

/** Asks a service that does not start for the reason; undefined when it tells none. */
export async function complaintOf(service: string, env: Environment): Promise<string | undefined> {
  for (let tries = 1; tries <= COMPLAINT.tries; tries += 1) {
    const { output } = await run(['show', '--property=ActiveState,StatusText', service], { env, timeout: ANSWER_MS })
    // One that is not being tried has nothing to say but what it said at another time.
    if (/^ActiveState=inactive$/m.test(output)) return undefined
    const text = /^StatusText=(.+)$/m.exec(output)?.[1]
    if (text !== undefined) return text
    await sleep(COMPLAINT.waitMs)
  }
  return undefined
}

/** Whether the manager runs a unit now, or is about to. */
export async function isActive(unit: string, env: Environment): Promise<boolean> {
  const state = await systemctl(['show', '--property=ActiveState', '--value', unit], env)
  return state.trim() !== 'inactive' && state.trim() !== 'failed'
}

interface RunOptions {
  readonly env: Environment
  readonly timeout?: number
  readonly signal?: AbortSignal
}

function run(args: readonly string[], options: RunOptions): Promise<{ output: string; failure: string | undefined }> {
  return new Promise((resolve) => {
    execFile('systemctl', ['--user', ...args], { ...options, env: { ...options.env } }, (error, stdout, stderr) => {
      resolve({ output: stdout, failure: error === null ? undefined : stderr.trim() || error.message })
    })
  })
}
