import { constants } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { errorCode } from '../lib/error-code.ts'
import { holderOf, type PlannedMount } from './loop-mount.ts'

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
/** A link, something that is no directory, or what this user may not write: the runtime copes, inside the loop. */
const LEFT_TO_THE_RUNTIME = ['EACCES', 'ELOOP', 'ENAMETOOLONG', 'ENOTDIR', 'EPERM', 'EROFS']

/**
 * Makes the places that mounts inside other mounts are put on, as the user: the runtime would make them for a sub-uid
 * (rule C-14). Homes are the sandbox's and may hold links, so every step is taken from a directory that is held open,
 * and never through a link.
 * @throws system errors such as a full disk
 */
export async function prepareMountPoints(mounts: readonly PlannedMount[]): Promise<void> {
  for (const mount of mounts) {
    const holder = holderOf(mount.target, mounts)
    if (holder === undefined) continue
    const names = mount.target.slice(holder.target.length + 1).split('/')
    await makePoint(holder.source, names, mount.kind)
  }
}

async function makePoint(root: string, names: readonly string[], kind: PlannedMount['kind']): Promise<void> {
  const last = names.length - 1
  let directory = await openDirectory(root)
  try {
    for (const [index, name] of names.entries()) {
      if (directory === undefined) return
      const path = `/proc/self/fd/${directory.fd}/${name}`
      if (index === last && kind === 'file') return await unlessLeft(() => makeFile(path))
      const next: FileHandle | undefined = await unlessLeft(async () => {
        await makeDirectory(path)
        return await open(path, DIRECTORY)
      })
      await directory.close()
      directory = next
    }
  } finally {
    await directory?.close()
  }
}

async function openDirectory(path: string): Promise<FileHandle | undefined> {
  return await unlessLeft(() => open(path, DIRECTORY))
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o755 })
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
}

async function makeFile(path: string): Promise<void> {
  try {
    await (await open(path, NEW_FILE, 0o644)).close()
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
}

async function unlessLeft<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (!LEFT_TO_THE_RUNTIME.includes(errorCode(error) ?? '')) throw error
    return undefined
  }
}
