/** Opening a unix socket, with errors that say what to do. */
import { connect, type Socket } from 'node:net'
import { LoopatError } from '@loopatd/protocol/error'

/**
 * Opens a connection to the daemon's socket.
 * @throws LoopatError `daemon_unreachable` when nobody accepts, `cancelled` when the signal aborts first
 */
export function dial(path: string, signal?: AbortSignal): Promise<Socket> {
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
    socket.once('error', (error) => settle(() => reject(unreachable(path, error))))
  })
}

function cancelled(signal: AbortSignal | undefined): LoopatError {
  return new LoopatError('cancelled', 'connecting to the daemon was cancelled', { cause: signal?.reason })
}

function unreachable(path: string, error: NodeJS.ErrnoException): LoopatError {
  const why: Record<string, string> = {
    ENOENT: 'there is no socket',
    ECONNREFUSED: 'nobody listens on it any more',
    EACCES: 'permission denied',
  }
  const reason = why[error.code ?? ''] ?? error.message
  return new LoopatError('daemon_unreachable', `no daemon answers on ${path}: ${reason}`, {
    next: 'Start it with `loopctl daemon start`.',
    details: { socket: path },
    cause: error,
  })
}
