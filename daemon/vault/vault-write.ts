import { constants } from 'node:fs'
import { lstat, mkdir, open, realpath, rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { writeFileAtomic } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/error-code.ts'
import { type Fence, fenceOf } from './fence.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/** What is in the way of an entry, by the code of the error that says so. */
const OBSTACLES: Readonly<Record<string, string>> = {
  EISDIR: 'it is a directory',
  ELOOP: 'a link is on the way',
  ENAMETOOLONG: 'its name is too long',
  ENOTDIR: 'a file or a link is on the way',
  ENOTEMPTY: 'it is a directory that is not empty',
}

/** Something in a vault: names below the vault's own directory, checked so that none leads up. */
export type EntryPath = readonly string[]

/** The path of a variable. */
export function envPath(name: string): EntryPath {
  return ['envs', name]
}

/** The path of a file below the home. */
export function homePath(path: string): EntryPath {
  return ['mounts', 'home', ...path.split('/')]
}

/**
 * Makes the directory of a vault, with those above it, all 0700.
 * @returns whether it was not there
 * @throws the file system's error
 */
export async function makeVault(home: string, user: string, vault: string): Promise<boolean> {
  const fence = fenceOf(await realpath(home), user, vault)
  return (await mkdir(fence.vault, { recursive: true, mode: 0o700 })) !== undefined
}

/**
 * Writes a file of a vault, 0600, in one step: whoever reads it sees the old or the new content. Missing directories are
 * made.
 * @returns whether there was something of this name
 * @throws `vault_invalid` when something is in the way
 */
export async function writeEntry(fence: Fence, entry: EntryPath, content: Uint8Array): Promise<boolean> {
  const work = async (path: string) => {
    const before = await lstatOrNone(path)
    await writeFileAtomic(path, content, 0o600)
    return before !== undefined
  }
  return await unobstructed(fence, entry, () => inDirectory(fence.vault, entry, { make: true, work }))
}

/**
 * Removes a file of a vault, a link, or an empty directory.
 * @returns whether there was something
 * @throws `vault_invalid` when it is a directory that is not empty, or something is in the way
 */
export async function removeEntry(fence: Fence, entry: EntryPath): Promise<boolean> {
  const work = async (path: string) => {
    await ((await lstat(path)).isDirectory() ? rmdir(path) : unlink(path))
    return true
  }
  return await unobstructed(fence, entry, async () => {
    try {
      return await inDirectory(fence.vault, entry, { make: false, work })
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false
      throw error
    }
  })
}

/** What is done with an entry. */
interface Task {
  /** Whether missing directories on the way are made. */
  readonly make: boolean
  work(path: string): Promise<boolean>
}

/**
 * Works on an entry by a path that nobody can lead astray: each directory on the way is opened without following links,
 * and the next one is looked for in what was opened. Loops write below `mounts/home`.
 */
async function inDirectory(from: string, [first = '', ...rest]: EntryPath, task: Task): Promise<boolean> {
  await using directory = await open(from, O_RDONLY | O_NOFOLLOW | O_DIRECTORY)
  const path = `/proc/self/fd/${directory.fd}`
  const next = join(path, first)
  if (rest.length === 0) return await task.work(next)
  if (task.make) await makeDirectory(next)
  return await inDirectory(next, rest, task)
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
}

async function unobstructed<T>({ vault }: Fence, entry: EntryPath, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const why = OBSTACLES[errorCode(error) ?? '']
    if (why === undefined) throw error
    const path = entry.join('/')
    throw new LoopatError('vault_invalid', `cannot change ${path} of the vault: ${why}`, {
      next: `Look at ${join(vault, path)}.`,
      details: { path: join(vault, path) },
      cause: error,
    })
  }
}

async function lstatOrNone(path: string) {
  try {
    return await lstat(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
