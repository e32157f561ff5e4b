import { constants } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { errorCode } from '../lib/error-code.ts'
import type { VaultMount } from '../loop/loop-options.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
/** Files that ssh reads only while nobody else can. */
const PRIVATE = /^(config|identity|id|id_.*|.*_(rsa|ed25519|ecdsa|dsa))$/
/** Most files that are looked at. */
const MAX_FILES = 200
/** A file that vanished, is a link or somebody else's: those keep what they have. */
const TOLERATED = new Set(['EACCES', 'ELOOP', 'ENOENT', 'ENOTDIR', 'ENXIO', 'EPERM', 'EROFS'])

/**
 * Gives the files of `~/.ssh` the modes that ssh insists on, which git and copying lose (rule C-15). Best effort: what
 * cannot be changed stays. Loops write there: no link is followed.
 */
export async function fixSshModes(mounts: readonly VaultMount[]): Promise<void> {
  const ssh = mounts.find(({ name, kind }) => name === '.ssh' && kind === 'directory')
  if (ssh === undefined) return
  await tolerate(async () => {
    await using directory = await open(ssh.source, O_RDONLY | O_NOFOLLOW | O_DIRECTORY)
    await setMode(directory, 0o700)
    const path = `/proc/self/fd/${directory.fd}`
    for (const name of (await readdir(path)).slice(0, MAX_FILES)) await tolerate(() => fixFile(`${path}/${name}`, name))
  })
}

async function fixFile(path: string, name: string): Promise<void> {
  await using file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  if ((await file.stat()).isFile()) await setMode(file, isPrivate(name) ? 0o600 : 0o644)
}

function isPrivate(name: string): boolean {
  return !name.endsWith('.pub') && PRIVATE.test(name)
}

async function setMode(file: FileHandle, mode: number): Promise<void> {
  if (((await file.stat()).mode & 0o7777) !== mode) await file.chmod(mode)
}

async function tolerate(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!TOLERATED.has(errorCode(error) ?? '')) throw error
  }
}
