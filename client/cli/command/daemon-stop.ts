import { setTimeout as sleep } from 'node:timers/promises'
import { isLoopatError, LoopatError } from '@loopatd/protocol/error'
import type { Context } from '../context.ts'

/** Longest time a daemon may take to leave: beyond its own drain deadline, in milliseconds. */
const STOP_MS = 60_000
/** Between two looks at whether it has left, in milliseconds. */
const POLL_MS = 50

/**
 * Stops the daemon that answers, and waits until its process is gone: only then may another have the workspace.
 * @returns whether there was one
 */
export async function stopBackground(context: Context): Promise<boolean> {
  const pid = await askToStop(context)
  if (pid === undefined) return false
  const deadline = performance.now() + STOP_MS
  while (isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new LoopatError('daemon_unreachable', `the daemon (pid ${pid}) does not end`, {
        next: `See what it waits for with: loopctl daemon logs; end it with: kill -9 ${pid}`,
      })
    }
    await sleep(POLL_MS, undefined, { signal: context.signal })
  }
  return true
}

/** @returns the process that has been asked, or undefined when no daemon runs */
async function askToStop(context: Context): Promise<number | undefined> {
  const { signal } = context
  let pid: number | undefined
  try {
    await context.withClient(
      async (client) => {
        pid = (await client.daemon.status({ signal })).pid
        await client.daemon.shutdown({ signal })
      },
      { start: false },
    )
  } catch (error) {
    // One that leaves before it has answered does what it was asked for.
    if (!isLoopatError(error, 'daemon_unreachable')) throw error
  }
  return pid
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}
