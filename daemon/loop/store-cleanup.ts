import { readdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTemporaries, syncDirectory } from '../lib/atomic-file.ts'
import type { Logger } from '../log.ts'
import { isLoopId, loopPaths } from './loop-path.ts'
import { errorCode } from './storage-health.ts'

/** Names of loops that are being deleted begin with this. */
const REMOVING = '.removing-'
/** What deletion answers when a tree holds files of sub-uids, or directories that their owner must not write. */
const DENIED = new Set(['EACCES', 'EPERM', 'ENOTEMPTY'])

/** Deletes a tree; by `removeAsRoot` when parts of it may not be deleted by the user. Missing is a success. */
export async function removeTree(path: string, removeAsRoot: (path: string) => Promise<void>): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true })
  } catch (error) {
    if (!DENIED.has(errorCode(error) ?? '')) throw error
    await removeAsRoot(path)
  }
}

/**
 * Renames a loop's directory so that it is no longer listed, and its deletion can be finished after a crash.
 * @returns the new path, undefined when there is no such directory
 */
export async function setAside(loops: string, id: string): Promise<string | undefined> {
  const aside = join(loops, `${REMOVING}${id}`)
  try {
    await rename(join(loops, id), aside)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
  await syncDirectory(loops)
  return aside
}

/**
 * Finds what a crash left among the loops, and touches only what is surely ours and not finished. Temporary files go at
 * once; half-made loops are set aside. Anything that is in doubt stays and is shown as broken.
 * @returns trees to delete, which may take long
 */
export async function findLeftovers(loops: string, log: Logger): Promise<string[]> {
  const leftovers: string[] = []
  const attempt = async (path: string, work: () => Promise<void>) => {
    try {
      await work()
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      log.warn({ path, err: error }, 'what a crash left behind cannot be removed')
    }
  }
  const names = await directoriesIn(loops)
  if (names.length > 0) await attempt(loops, () => removeTemporaries(loops))
  for (const name of names) {
    const path = join(loops, name)
    if (name.startsWith(REMOVING) && isLoopId(name.slice(REMOVING.length))) leftovers.push(path)
    else if (isLoopId(name)) await attempt(path, async () => void leftovers.push(...(await recoverLoop(loops, name))))
  }
  return leftovers
}

async function recoverLoop(loops: string, id: string): Promise<string[]> {
  const paths = loopPaths(loops, id)
  await removeTemporaries(paths.directory)
  const names = await readdir(paths.directory)
  if (names.includes('meta.json')) {
    await rm(paths.creating, { force: true })
  } else if (names.includes('.creating')) {
    const aside = await setAside(loops, id)
    return aside === undefined ? [] : [aside]
  } else if (names.length === 0) {
    // The crash came before the mark. An empty directory holds nothing to lose.
    await rmdir(paths.directory)
  }
  return []
}

/** Names of the real directories, not of links to some. */
async function directoriesIn(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}
