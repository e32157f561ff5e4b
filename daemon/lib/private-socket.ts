import { chmodSync, lstatSync, renameSync, rmSync, type Stats } from 'node:fs'
import type { Server } from 'node:net'
import { dirname, join } from 'node:path'

/** Name under which a socket is made before it takes its place. */
const NEW_SOCKET = '.new.sock'

/** Connections that may wait to be accepted, before the kernel's own limit; as many as systemd asks for. */
export const BACKLOG = 4096

/** A socket that is listened on. */
export interface Listening {
  /** Removes the socket's path, unless something else has replaced it. Idempotent. */
  remove(): void
}

/**
 * Listens on a path, alone: the socket is made beside it, with mode 0600, and then moved there. It replaces what is there,
 * such as the socket of a program that crashed; it is never open to others; and closing the server does not remove the
 * path, which may be another's by then.
 * @param path absolute; whoever may write its directory must be trusted, and no two may do this there at the same time
 * @throws the system's error
 */
export async function listenPrivately(server: Server, path: string): Promise<Listening> {
  const made = join(dirname(path), NEW_SOCKET)
  rmSync(made, { force: true })
  await bind(server, made)
  chmodSync(made, 0o600)
  const { dev, ino } = lstatSync(made)
  renameSync(made, path)
  return { remove: () => removeIfOurs(path, { dev, ino }) }
}

/** Binds with a umask that keeps others out from the first moment; binding happens before `listen` returns. */
function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const umask = process.umask(0o077)
    try {
      server.listen({ path, backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    } finally {
      process.umask(umask)
    }
  })
}

function removeIfOurs(path: string, ours: Pick<Stats, 'dev' | 'ino'>): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat?.dev === ours.dev && stat.ino === ours.ino) rmSync(path, { force: true })
}
