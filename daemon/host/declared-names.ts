import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errorCode } from '../lib/error-code.ts'
import { openDirectory, pathOf } from '../lib/pinned-directory.ts'
import { parseToml, TomlFault } from '../lib/toml.ts'
import { isHostName } from './host-name.ts'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants

const FILE = 'mise.toml'
/** Largest file that is read, in bytes. */
const MAX_BYTES = 65_536
/** Names of one loop that count; further ones are left out. */
const MAX_NAMES = 64

/** What keeps a file of a loop from being one that we read, by the code of the error that says so. */
const NONE: readonly string[] = ['EACCES', 'ELOOP', 'ENODEV', 'ENOENT', 'ENXIO', 'EPERM']

/**
 * Reads which commands of the host a loop would like to have: `[host].clis` of `mise.toml` in its workdir. They are only
 * names, and grant nothing. The loop can write all of that, so whatever is not as it should be is left out.
 * @param workdir on the host
 * @returns each once, in order
 * @throws the file system's error when the disk fails
 */
export async function readDeclaredNames(workdir: string): Promise<string[]> {
  const text = await readSmall(workdir)
  return text === undefined ? [] : declaredNames(text)
}

/** The names in the text of a `mise.toml`. */
export function declaredNames(text: string): string[] {
  const host = tableOf(text).host
  const clis = isTable(host) ? host.clis : undefined
  if (!Array.isArray(clis)) return []
  const names = clis.filter((name): name is string => typeof name === 'string' && isHostName(name))
  return [...new Set(names)].slice(0, MAX_NAMES)
}

function tableOf(text: string): Readonly<Record<string, unknown>> {
  try {
    return parseToml(text)
  } catch (error) {
    if (error instanceof TomlFault) return {}
    throw error
  }
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function readSmall(workdir: string): Promise<string | undefined> {
  await using directory = await openDirectory(workdir, [])
  if (directory === undefined) return undefined
  await using file = await openOrNone(`${pathOf(directory)}/${FILE}`)
  if (file === undefined || !(await file.stat()).isFile()) return undefined
  // It may grow while it is read.
  const room = Buffer.alloc(MAX_BYTES + 1)
  let length = 0
  for (let count = -1; count !== 0 && length < room.length; length += count) {
    count = (await file.read(room, length, room.length - length, length)).bytesRead
  }
  return length > MAX_BYTES ? undefined : room.toString('utf8', 0, length)
}

/** A pipe is not waited for, and a link not followed. */
async function openOrNone(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    if (NONE.includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}
