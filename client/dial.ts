/** Opening a unix socket, with errors that say what to do. */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { LoopatError } from '@loopatd/protocol/error'

/** Times that a socket whose queue of new connections is full is tried, and milliseconds between two. */
const BUSY = { tries: 50, waitMs: 40 } as const

/**
 * Opens a connection to the daemon's socket.
 * @throws LoopatError `daemon_unreachable` when nobody accepts, `cancelled` when the signal aborts first
 */
export async function dial(path: string, signal?: AbortSignal): Promise<Socket> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await open(path, signal)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error) || error instanceof LoopatError) throw error
      if (error.code !== 'EAGAIN' || tries === BUSY.tries) throw unreachable(path, error)
    }
    await sleep(BUSY.waitMs)
  }
}

/** @throws LoopatError `cancelled`, or the system's error */
function open(path: string, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled(signal))
      return
    }
    const socket = connect(path)
    const settle = (outcome: () => void) => {
      socket.removeAllListeners()
      signal?.removeEventListener('abort', onAbort)
      outcome()
    }
    const onAbort = () =>
      settle(() => {
        socket.destroy()
        reject(cancelled(signal))
      })
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.once('connect', () => settle(() => resolve(socket)))
    socket.once('error', (error) => settle(() => reject(error)))
  })
}

function cancelled(signal: AbortSignal | undefined): LoopatError {
  return new LoopatError('cancelled', 'connecting to the daemon was cancelled', { cause: signal?.reason })
}

function unreachable(path: string, error: Error & { readonly code?: unknown }): LoopatError {
  const why: Record<string, string> = {
    ENOENT: 'there is no socket',
    ECONNREFUSED: 'nobody listens on it any more',
    EACCES: 'permission denied',
    EAGAIN: 'too many others are waiting to be accepted',
  }
  const reason = why[String(error.code)] ?? error.message
  return new LoopatError('daemon_unreachable', `no daemon answers on ${path}: ${reason}`, {
    next: 'Start it with `loopctl daemon start`.',
    details: { socket: path },
    cause: error,
  })
}
