import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from '../../lib/error-code.ts'

/** Longest wait for a command to be executed, in milliseconds. On a busy machine it takes some; then it is left at that. */
const PATIENCE_MS = 2_000
/** Time between two looks, in milliseconds. */
const LOOK_MS = 2

/**
 * Waits until the init process of a container has become, or ended because it could not become, the parent of the
 * container's command: podman calls a container running as soon as its init runs, whether or not the command exists.
 * @param pid of the init process, on the host
 * @returns whether the command was executed; false when the container has ended
 */
export async function isExecuted(pid: number, signal?: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + PATIENCE_MS
  while (performance.now() < deadline) {
    signal?.throwIfAborted()
    const [init, child] = [await nameOf(pid), await firstChild(pid)]
    if (init === undefined) return false
    // Before it is executed, the child is still a copy of init.
    if (child !== undefined && ((await nameOf(child)) ?? init) !== init) return true
    await sleep(LOOK_MS)
  }
  return true
}

async function firstChild(pid: number): Promise<number | undefined> {
  const children = await read(`/proc/${pid}/task/${pid}/children`)
  const [first = ''] = (children ?? '').split(' ')
  return first === '' ? undefined : Number(first)
}

/** Name of a program; undefined when the process is gone. */
function nameOf(pid: number): Promise<string | undefined> {
  return read(`/proc/${pid}/comm`)
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' && errorCode(error) !== 'ESRCH') throw error
    return undefined
  }
}
