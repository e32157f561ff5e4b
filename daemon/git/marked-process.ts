import { readdir, readFile } from 'node:fs/promises'

/** Variable by which the processes of one call are found, however their parents ended. */
const MARKER = 'LOOPATD_GIT_CALL'

/** The mark to put into the environment of a process. */
export function markOf(id: string): Record<string, string> {
  return { [MARKER]: id }
}

/**
 * Kills every process of this user that carries the mark. Git ends its own helpers only when it has the time: an ssh or
 * a git-remote-https that still waits for a server outlives it.
 * @returns process ids that were killed
 */
export async function killMarked(id: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^[1-9][0-9]*$/.test(name)).map(Number)
  const marked = await Promise.all(pids.map(async (pid) => ((await carries(pid, id)) ? pid : undefined)))
  return marked.filter((pid) => pid !== undefined).filter(kill)
}

async function carries(pid: number, id: string): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/environ`, 'latin1')).split('\0').includes(`${MARKER}=${id}`)
  } catch (error) {
    // It has ended meanwhile, or belongs to somebody else.
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return false
    throw error
  }
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false
    throw error
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
}
