/** The daemon as its own client: what a watchdog takes as proof that clients are served. */
import { connect } from 'node:net'
import { LoopatError, PROTOCOL_VERSION, VERSION } from '@loopatd/protocol'
import {
  createMessageConnection,
  type MessageConnection,
  SocketMessageReader,
  SocketMessageWriter,
} from 'vscode-jsonrpc/node'

/**
 * Connects to the daemon's socket as any client would, shakes hands and asks for the daemon's status. A daemon that has
 * all the connections it may have turns the caller away; that it does is work, too. podman is not asked.
 * @throws LoopatError `daemon_unreachable` when the socket does not lead to a working daemon; the signal's reason
 */
export function callSelf(path: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const socket = connect(path)
    const connection = createMessageConnection(new SocketMessageReader(socket), new SocketMessageWriter(socket))
    let isConnected = false
    const settle = (outcome: () => void) => {
      signal.removeEventListener('abort', onAbort)
      connection.dispose()
      socket.destroy()
      outcome()
    }
    const fail = (cause: Error) =>
      settle(() => reject(new LoopatError('daemon_unreachable', `no answer on ${path}: ${cause.message}`, { cause })))
    const onAbort = () => settle(() => reject(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('connect', () => {
      isConnected = true
    })
    socket.on('error', fail)
    // Also how a full daemon answers: in words that belong to no request, or without a word.
    socket.once('close', () => (isConnected ? settle(resolve) : undefined))
    connection.onError(([error]) => fail(error))
    connection.listen()
    askForStatus(connection).then(() => settle(resolve), fail)
  })
}

async function askForStatus(connection: MessageConnection): Promise<void> {
  const client = { name: 'loopatd-watchdog', version: VERSION }
  await connection.sendRequest('initialize', { protocolVersion: PROTOCOL_VERSION, client })
  await connection.sendRequest('daemon/status', {})
}
