import { createServer, type Server, type Socket } from 'node:net'
import { LoopatError, MAX_SOCKET_PATH_BYTES } from '@loopatd/protocol'
import { type Listening, listenPrivately } from '../lib/private-socket.ts'

/** Callers of one loop that are let in at the same time, those that wait for an approval included. */
const MAX_CALLERS = 128

/** What is told of those who call. */
export interface GatewayTold {
  readonly onCaller: (socket: Socket) => void
  /** One too many at the same time was turned away. */
  readonly onDropped: () => void
}

/**
 * The socket by which one loop reaches the host. It lies in the loop's control directory, which nobody else sees, so who
 * calls is known by the socket alone; nothing that a caller says about itself counts.
 */
export class HostGateway {
  readonly #server: Server
  readonly #listening: Listening

  private constructor(server: Server, listening: Listening) {
    this.#server = server
    this.#listening = listening
  }

  /**
   * Listens.
   * @param path of the socket, in a directory that no loop can write
   * @param told neither must throw
   * @throws LoopatError `storage_failed`
   */
  static async open(path: string, told: GatewayTold): Promise<HostGateway> {
    const bytes = Buffer.byteLength(path)
    const next = 'Set XDG_RUNTIME_DIR to a shorter path.'
    if (bytes > MAX_SOCKET_PATH_BYTES) {
      const rule = `the socket path ${path} has ${bytes} bytes; unix sockets allow ${MAX_SOCKET_PATH_BYTES}`
      throw new LoopatError('storage_failed', rule, { next, details: { path } })
    }
    const server = createServer()
    server.maxConnections = MAX_CALLERS
    server.on('connection', told.onCaller)
    server.on('drop', told.onDropped)
    try {
      const listening = await listenPrivately(server, path)
      // What is wrong with one connection is no matter of the others.
      server.on('error', () => undefined)
      return new HostGateway(server, listening)
    } catch (cause) {
      server.close()
      throw new LoopatError('storage_failed', `the socket ${path} cannot be made`, { details: { path }, cause })
    }
  }

  /** Lets nobody in any more, and takes the socket away. Idempotent. */
  close(): void {
    this.#listening.remove()
    this.#server.close()
  }

  /** Lets nobody in any more; the socket stays, and says that the daemon will be back. */
  pause(): void {
    this.#server.close()
  }
}
