import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errorCode } from './error-code.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/** What keeps a name from being a directory of ours, by the code of the error that says so. */
const NONE: readonly string[] = ['EACCES', 'ELOOP', 'ENAMETOOLONG', 'ENOENT', 'ENOTDIR', 'EPERM']

/**
 * Opens a directory so that nobody who can write above it leads us astray: each name is looked for in the directory that
 * was opened before it, and no link is followed.
 * @param from a directory that only we can replace
 * @param names of the directories below it
 * @returns to be closed; undefined when one of the names is no directory that we may read
 * @throws the file system's error for anything else
 */
export async function openDirectory(from: string, names: readonly string[]): Promise<FileHandle | undefined> {
  let directory = await openOrNone(from)
  for (const name of names) {
    if (directory === undefined) return undefined
    await using above = directory
    directory = await openOrNone(`${pathOf(above)}/${name}`)
  }
  return directory
}

/** A path that leads to what was opened, whatever has its name now. */
export function pathOf({ fd }: FileHandle): string {
  return `/proc/self/fd/${fd}`
}

async function openOrNone(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, O_RDONLY | O_NOFOLLOW | O_DIRECTORY)
  } catch (error) {
    if (NONE.includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}
