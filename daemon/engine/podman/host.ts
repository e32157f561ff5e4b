import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, readFile, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** Type of a cgroup2 file system, as statfs(2) tells it. */
const CGROUP2_SUPER_MAGIC = 0x63677270

/** How long the service manager may take to answer, in milliseconds. */
const MANAGER_MS = 3000

/** States in which a service manager takes units. */
const TAKES_UNITS = new Set(['running', 'degraded', 'starting', 'initializing', 'maintenance'])

/** Reports whether the host has the unified cgroup hierarchy alone. */
export async function hasUnifiedCgroups(): Promise<boolean> {
  return (await statfs('/sys/fs/cgroup')).type === CGROUP2_SUPER_MAGIC
}

/** Finds a program in `PATH`; undefined when it is not there. */
export async function findProgram(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const directory of (env.PATH ?? '').split(':')) {
    const path = join(directory, name)
    if (directory !== '' && (await isExecutable(path))) return path
  }
  return undefined
}

/** Reports whether the user's systemd takes units. */
export async function hasUserManager(env: NodeJS.ProcessEnv): Promise<boolean> {
  if ((await findProgram('systemd-run', env)) === undefined) return false
  const answer = await run('systemctl', ['--user', 'is-system-running'], env)
  return TAKES_UNITS.has(answer.output.trim())
}

/** What a short program said. */
export interface RunResult {
  readonly output: string
  /** Undefined on success. */
  readonly failure: string | undefined
}

/** Runs a short program of the host to its end. */
export function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<RunResult> {
  return new Promise((resolve) => {
    execFile(program, [...args], { env, timeout: MANAGER_MS }, (error, stdout, stderr) => {
      resolve({ output: stdout, failure: error === null ? undefined : stderr.trim() || error.message })
    })
  })
}

/** Start time of a process in clock ticks since boot, which tells it from a later one with its number; undefined when it is gone. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended.
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
      return undefined
    throw error
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error) return false
    throw error
  }
}
