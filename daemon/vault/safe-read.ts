import { constants } from 'node:fs'
import { type FileHandle, lstat, open, readdir, readlink, realpath } from 'node:fs/promises'
import { TEMPORARY_SUFFIX } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/error-code.ts'
import { type Complaint, type Fence, refusalOf } from './fence.ts'

/** Most entries of a directory that are looked at. */
const MAX_ENTRIES = 1000

/** Something that is not delivered, and why. */
export interface Refusal {
  readonly why: string
  /** Where it really leads, when that is known. */
  readonly target: string | null
}

/** Where an entry of a vault really is. */
export type Located = { readonly path: string; readonly kind: 'file' | 'directory' } | Refusal

/** Reports whether something is refused. */
export function isRefusal(value: object): value is Refusal {
  return 'why' in value
}

/**
 * Follows the links of an entry, if it stays where it may (rule V-5).
 * @param path below the vault
 * @returns undefined when there is no such entry
 */
export async function locate(fence: Fence, path: string): Promise<Located | undefined> {
  try {
    if ((await lstatOrNone(path)) === undefined) return undefined
    const real = await realpath(path)
    // The vault's own directories are no entries; they are where they should be.
    const why = real === path ? undefined : refusalOf(fence, real)
    if (why !== undefined) return { why, target: real }
    const stats = await lstat(real)
    if (stats.isDirectory()) return { path: real, kind: 'directory' }
    if (stats.isFile()) return { path: real, kind: 'file' }
    return { why: 'is neither a file nor a directory', target: real }
  } catch (error) {
    return { why: unreadable(error), target: null }
  }
}

/**
 * Names in a directory of a vault; none when it is missing.
 * @param label what the directory is called in complaints
 */
export async function listInside(
  fence: Fence,
  directory: string,
  label: string,
): Promise<{ names: string[]; complaints: Complaint[] }> {
  const located = await locate(fence, directory)
  const refuse = (refusal: Refusal) => ({ names: [], complaints: [{ entry: label, ...refusal }] })
  if (located === undefined) return { names: [], complaints: [] }
  if (isRefusal(located)) return refuse(located)
  if (located.kind === 'file') return refuse({ why: 'is no directory', target: null })
  try {
    // What is being written has a name of its own until it is complete.
    const names = (await readdir(located.path)).filter((name) => !name.endsWith(TEMPORARY_SUFFIX))
    return names.length > MAX_ENTRIES
      ? refuse({ why: `has more than ${MAX_ENTRIES} entries`, target: null })
      : { names, complaints: [] }
  } catch (error) {
    return refuse({ why: unreadable(error), target: null })
  }
}

/**
 * Reads a file of a vault. It is looked at again after it was opened: whoever can write to a vault from inside a loop
 * may put a link in its place meanwhile.
 * @param path below the vault
 * @param maxBytes largest file that is read
 */
export async function readInside(fence: Fence, path: string, maxBytes: number): Promise<Buffer | Refusal> {
  const located = await locate(fence, path)
  if (located === undefined) return { why: 'is gone', target: null }
  if (isRefusal(located)) return located
  if (located.kind === 'directory') return { why: 'is a directory', target: located.path }
  try {
    // Opening must never wait, as for the other end of a pipe.
    await using file = await open(located.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    return await readOpened(fence, file, maxBytes)
  } catch (error) {
    return { why: unreadable(error), target: located.path }
  }
}

async function readOpened(fence: Fence, file: FileHandle, maxBytes: number): Promise<Buffer | Refusal> {
  const target = await readlink(`/proc/self/fd/${file.fd}`)
  const why = refusalOf(fence, target)
  if (why !== undefined) return { why, target }
  const stats = await file.stat()
  if (!stats.isFile()) return { why: 'is no file', target }
  // One more byte than there should be, to see that there is none.
  const buffer = Buffer.alloc(Math.min(stats.size, maxBytes) + 1)
  let size = 0
  for (let read = -1; read !== 0 && size < buffer.length; size += read) {
    read = (await file.read(buffer, size, buffer.length - size)).bytesRead
  }
  if (size > maxBytes) return { why: `is larger than ${maxBytes} bytes`, target: null }
  return size === buffer.length ? { why: 'is being written', target: null } : buffer.subarray(0, size)
}

async function lstatOrNone(path: string) {
  try {
    return await lstat(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Why a system error keeps an entry from being read; anything else is thrown. */
function unreadable(error: unknown): string {
  const code = errorCode(error)
  if (code === undefined) throw error
  if (code === 'ENOENT') return 'leads to nothing'
  return code === 'ELOOP' ? 'is a link that leads nowhere' : `cannot be read (${code})`
}
