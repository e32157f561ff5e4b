import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** How long killed processes may take to be gone, in milliseconds. */
const GONE_MS = 3000

/** Variables by which processes are found, however their parents ended. */
export type Mark = Readonly<Record<string, string>>

/** The mark of the processes of one call. @param id one that nothing else has */
export function markOfCall(id: string): Mark {
  return { LOOPATD_HELPER_CALL: id }
}

/** The mark of the programs that the daemon of a home runs for its own work, and that must not outlive it. */
export function markOfHome(home: string): Mark {
  return { LOOPATD_HELPER_HOME: home }
}

/**
 * Kills every process of this user that carries the mark. A program ends its own helpers only when it has the time: an
 * ssh or a git-remote-https that still waits for a server outlives its git.
 * @returns process ids that were killed
 */
export async function killMarked(mark: Mark): Promise<number[]> {
  const pairs = Object.entries(mark).map(([name, value]) => `${name}=${value}`)
  const pids = (await readdir('/proc')).filter((name) => /^[1-9][0-9]*$/.test(name)).map(Number)
  const marked = await Promise.all(pids.map(async (pid) => ((await carries(pid, pairs)) ? pid : undefined)))
  return marked.filter((pid) => pid !== undefined && pid !== process.pid).filter(kill)
}

/**
 * Kills them, and waits until none is left: what they worked on can be tidied up then.
 * @returns how many there were
 */
export async function endMarked(mark: Mark): Promise<number> {
  const ended = new Set<number>()
  const deadline = performance.now() + GONE_MS
  // One that was just being started is found by the next look.
  for (let left = await killMarked(mark); left.length > 0; left = await killMarked(mark)) {
    for (const pid of left) ended.add(pid)
    if (performance.now() > deadline) break
    await sleep(10)
  }
  return ended.size
}

async function carries(pid: number, pairs: readonly string[]): Promise<boolean> {
  try {
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0')
    return pairs.every((pair) => environment.includes(pair))
  } catch (error) {
    // It has ended meanwhile, or belongs to somebody else.
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return false
    throw error
  }
}

function kill(pid: number | undefined): pid is number {
  try {
    return pid !== undefined && process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false
    throw error
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
}
