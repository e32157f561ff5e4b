/** Steps of builds whose podman was killed: they wait for a start that never comes, or run on for nobody. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { isMaker, oldestMakerMs, parentOf } from './build-files.ts'
import { run } from './host.ts'

/** The program that podman puts between itself and a step; everything of the step descends from it. */
const WAITER = 'buildah-oci-runtime'

/** OCI runtimes, each with a directory of this name where it keeps what it runs. */
const RUNTIMES = ['crun', 'runc']

/** How the runtime calls the step of a build. */
const STEP = /^buildah-buildah\d+$/

/** Looks for processes that are being started meanwhile, at most. */
const LOOKS = 5

/**
 * Ends them.
 * @param env has the runtime directory of the user, without which only processes are found
 * @returns how many there were
 */
export async function endAbandonedSteps(env: NodeJS.ProcessEnv | undefined): Promise<number> {
  const waiters = new Set<number>()
  let ended = 0
  for (const { pid } of await listProcesses(([program]) => program === WAITER)) {
    const parent = await parentOf(pid)
    if (parent !== undefined && (await isMaker(parent))) waiters.add(pid)
    else if (kill(pid)) ended += 1
  }
  const runtimeDir = env?.XDG_RUNTIME_DIR
  for (const runtime of RUNTIMES) {
    ended += await killStarters(runtime, waiters)
    if (runtimeDir !== undefined) ended += await deleteSteps({ runtime, runtimeDir, waiters, env })
  }
  return ended
}

/** Kills runtimes at work on a step, and what they have just made of themselves. */
async function killStarters(runtime: string, waiters: ReadonlySet<number>): Promise<number> {
  const killed = new Set<number>()
  for (let look = 0; look < LOOKS; look += 1) {
    const isStarter = (words: readonly string[]) =>
      basename(words[0] ?? '') === runtime && words.some((word) => STEP.test(word))
    const before = killed.size
    for (const { pid } of await listProcesses(isStarter)) {
      if (!killed.has(pid) && !(await descendsFrom(pid, waiters)) && kill(pid)) killed.add(pid)
    }
    if (killed.size === before) break
  }
  return killed.size
}

interface Place {
  readonly runtime: string
  readonly runtimeDir: string
  readonly waiters: ReadonlySet<number>
  readonly env: NodeJS.ProcessEnv | undefined
}

/** Has the runtime kill the steps themselves, and forget those that have ended. */
async function deleteSteps({ runtime, runtimeDir, waiters, env }: Place): Promise<number> {
  let deleted = 0
  const directory = join(runtimeDir, runtime)
  for (const name of (await unlessGone(readdir(directory))) ?? []) {
    if (!STEP.test(name)) continue
    const pid = await readPid(join(directory, name))
    const isRunning = pid !== undefined && (await parentOf(pid)) !== undefined
    if (isRunning ? await descendsFrom(pid, waiters) : await isRecent(join(directory, name))) continue
    const { failure } = await run(runtime, ['delete', '--force', name], env)
    if (failure === undefined) deleted += 1
  }
  return deleted
}

/** The pid of a step; undefined while the runtime still makes it. */
async function readPid(directory: string): Promise<number | undefined> {
  const text = (await unlessGone(readFile(join(directory, 'status'), 'utf8'))) ?? ''
  const pid = Number(/"pid"\s*:\s*(\d+)/.exec(text)?.[1])
  return pid > 0 ? pid : undefined
}

/** Whether a podman or buildah that still runs may have made it, and be about to take it away. */
async function isRecent(path: string): Promise<boolean> {
  const found = await unlessGone(stat(path))
  return found === undefined || found.mtimeMs >= (await oldestMakerMs())
}

async function descendsFrom(pid: number, ancestors: ReadonlySet<number>): Promise<boolean> {
  for (let at: number | undefined = pid; at !== undefined && at > 1; at = await parentOf(at)) {
    if (ancestors.has(at)) return true
  }
  return false
}

/**
 * Processes whose arguments are wanted, of whomever: a runtime hides itself from its own user, so that /proc names root as
 * the owner of its files.
 */
async function listProcesses(isWanted: (words: readonly string[]) => boolean): Promise<{ readonly pid: number }[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const all = await Promise.all(
    pids.map(async (pid) => ({
      pid: Number(pid),
      words: (await unlessGone(readFile(`/proc/${pid}/cmdline`, 'utf8')))?.split('\0') ?? [],
    })),
  )
  return all.filter(({ words }) => isWanted(words))
}

/** @returns false when it has ended, or is another user's */
function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ESRCH' || error.code === 'EPERM')) return false
    throw error
  }
}

async function unlessGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH', 'ENOTDIR'].includes(String(error.code))) {
      return undefined
    }
    throw error
  }
}
