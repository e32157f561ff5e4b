import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createConnection, createServer, type Socket } from 'node:net'

/** Hands everything on between podman's clients and its socket, and notes what is asked. */
export interface CountProxy extends AsyncDisposable {
  readonly socketPath: string
  /** `METHOD /path` of every request so far, pings left out. */
  readonly requests: readonly string[]
}

/** Starts a proxy. @param socketPath where it listens @param target podman's socket */
export async function startCountProxy(socketPath: string, target: string): Promise<CountProxy> {
  const requests: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const podman = createConnection(target)
    for (const socket of [client, podman]) {
      sockets.add(socket)
      // Whoever goes away takes the other end along; that is no failure of the proxy.
      socket.on('error', () => socket.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('data', (chunk: Buffer) => {
      const lines = chunk.toString('latin1').matchAll(/(?:^|\r\n)([A-Z]+ \/\S*) HTTP\/1\.1\r\n/g)
      for (const [, line = ''] of lines) if (!/\/_ping\b/.test(line)) requests.push(line)
    })
    client.pipe(podman).pipe(client)
    podman.on('close', () => client.destroy())
    client.on('close', () => podman.destroy())
  })
  server.listen(socketPath)
  await once(server, 'listening')
  return {
    socketPath,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
      await rm(socketPath, { force: true })
    },
  }
}
