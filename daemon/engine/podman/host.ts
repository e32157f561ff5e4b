import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, lstat, readdir, readFile, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** Type of a cgroup2 file system, as statfs(2) tells it. */
const CGROUP2_SUPER_MAGIC = 0x63677270

/** How long the service manager may take to answer, in milliseconds. */
const MANAGER_MS = 3000

/** States in which a service manager takes units. */
const TAKES_UNITS = new Set(['running', 'degraded', 'starting', 'initializing', 'maintenance'])

/**
 * Reports whether podman, started here, would see the unified cgroup hierarchy alone. Rootless podman works in
 * the mount namespace of its pause process, which may have been started where things look different.
 */
export async function seesUnifiedCgroups(env: NodeJS.ProcessEnv): Promise<boolean> {
  if (!(await isUnified('/sys/fs/cgroup'))) return false
  if (env.XDG_RUNTIME_DIR === undefined) return true
  const pidFile = join(env.XDG_RUNTIME_DIR, 'libpod', 'tmp', 'pause.pid')
  const pause = Number.parseInt((await ifThere(readFile(pidFile, 'utf8'))) ?? '', 10)
  return Number.isNaN(pause) || (await isUnified(`/proc/${pause}/root/sys/fs/cgroup`))
}

/** A directory that cannot be seen does not count against it. */
async function isUnified(path: string): Promise<boolean> {
  const found = await ifThere(statfs(path))
  return found === undefined || found.type === CGROUP2_SUPER_MAGIC
}

async function ifThere<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES')) return undefined
    throw error
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
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

/** Runs a short program of the host to its end. @param env undefined for that of this process */
export function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv | undefined): Promise<RunResult> {
  return new Promise((resolve) => {
    const options = { ...(env === undefined ? {} : { env }), timeout: MANAGER_MS }
    execFile(program, [...args], options, (error, stdout, stderr) => {
      resolve({ output: stdout, failure: error === null ? undefined : stderr.trim() || error.message })
    })
  })
}

/** Start time of a process in clock ticks since boot, which tells it from a later one with its number; undefined when it is gone. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await ifThere(readFile(`/proc/${pid}/stat`, 'utf8'))
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie has ended.
  return fields?.[0] === 'Z' ? undefined : fields?.[19]
}

/** Pids of this user's processes that have `argument` among their arguments. */
export async function findByArgument(argument: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || (await ifThere(lstat(`/proc/${name}`)))?.uid !== process.getuid?.()) continue
    const command = await ifThere(readFile(`/proc/${name}/cmdline`, 'utf8'))
    if (command?.split('\0').includes(argument)) found.push(Number(name))
  }
  return found
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
