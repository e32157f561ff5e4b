/** The daemon's place in the file system: a private directory and the socket in it. */
import { chmodSync, lstatSync, mkdirSync } from 'node:fs'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import { LoopatError, MAX_SOCKET_PATH_BYTES } from '@loopatd/protocol'
import { BACKLOG, type Listening, listenPrivately } from '../lib/private-socket.ts'

/** Where a server listens. */
export interface ListenTarget {
  /** Absolute path; its directory must be prepared and the caller must hold the workspace's lock. */
  readonly path: string
  /**
   * A socket on that path that a service manager listens on already. Clients that connected before the daemon started
   * wait in it. It is used as long as the path leads to a socket, and belongs to the manager.
   */
  readonly descriptor?: number | undefined
}

function refuse(path: string, rule: string): LoopatError {
  return new LoopatError('storage_failed', `${path} cannot hold the daemon's socket: ${rule}`, {
    next: `Look at it with \`ls -ld ${path}\`, remove it if it is not wanted, or set XDG_RUNTIME_DIR.`,
    details: { path },
  })
}

function makePrivate(path: string, uid: number): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    if (error.code === 'ENOENT') throw refuse(dirname(path), 'it does not exist')
    if (error.code !== 'EEXIST') throw refuse(path, `it cannot be made (${error.code})`)
  }
  const mode = checkPrivate(path, uid)
  if (mode !== undefined && mode !== 0o700) chmodSync(path, 0o700)
}

/** @returns its mode; undefined when it does not exist */
function checkPrivate(path: string, uid: number): number | undefined {
  // Not stat: a link could be pointed elsewhere at any time.
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  if (stat.isSymbolicLink()) throw refuse(path, 'it is a symbolic link')
  if (!stat.isDirectory()) throw refuse(path, 'it is not a directory')
  if (stat.uid !== uid) throw refuse(path, `it belongs to uid ${stat.uid}, not to uid ${uid}`)
  if ((stat.mode & 0o022) !== 0) throw refuse(path, 'others can write to it')
  return stat.mode & 0o7777
}

/**
 * Makes sure that the runtime directory of a workspace exists and is the user's alone, and the directory above it,
 * which is shared by the user's workspaces. Nothing above those two is touched.
 * @param path absolute path of the workspace's runtime directory
 * @param uid who must own both
 * @throws LoopatError `storage_failed` when one is a link, somebody else's or writable by others
 */
export function prepareRuntimeDir(path: string, uid: number = process.geteuid?.() ?? 0): void {
  makePrivate(dirname(path), uid)
  makePrivate(path, uid)
}

/**
 * Says what is wrong with the runtime directory, as far as it exists; makes nothing.
 * @throws LoopatError `storage_failed` as {@link prepareRuntimeDir} would
 */
export function checkRuntimeDir(path: string, uid: number = process.geteuid?.() ?? 0): void {
  checkPrivate(dirname(path), uid)
  checkPrivate(path, uid)
}

/**
 * Listens on a descriptor that is given, else on the path, where it replaces what a crashed daemon left behind.
 * @throws LoopatError `config_invalid` for a path that is too long, `storage_failed` for one that is taken by a file
 */
export async function listenOn(server: Server, { path, descriptor }: ListenTarget): Promise<Listening> {
  const bytes = Buffer.byteLength(path)
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new LoopatError(
      'config_invalid',
      `the socket path ${path} has ${bytes} bytes; unix sockets allow ${MAX_SOCKET_PATH_BYTES}`,
      { next: 'Set XDG_RUNTIME_DIR to a shorter path.' },
    )
  }
  const old = lstatSync(path, { throwIfNoEntry: false })
  if (old !== undefined && !old.isSocket()) throw refuse(path, 'it exists and is not a socket')
  // A path that was removed leads nobody to the manager's socket any more: then one of our own takes its place.
  if (descriptor !== undefined && old !== undefined) {
    await adopt(server, descriptor)
    return { remove: () => undefined }
  }
  return await listenPrivately(server, path)
}

/** @throws LoopatError `storage_failed` for a descriptor that is no listening socket */
function adopt(server: Server, descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) =>
      reject(new LoopatError('storage_failed', `descriptor ${descriptor} cannot be listened on`, { cause }))
    server.once('error', onError)
    server.listen({ fd: descriptor, backlog: BACKLOG }, () => {
      server.off('error', onError)
      resolve()
    })
  })
}
