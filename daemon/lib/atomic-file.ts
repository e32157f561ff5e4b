import { randomBytes } from 'node:crypto'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Ending of files that a crash may leave behind; whoever owns a directory may delete them at start. */
export const TEMPORARY_SUFFIX = '.tmp~'

/**
 * Replaces a file so that a reader, or a crash, sees the old content or the new, never a part: written beside it,
 * synced, renamed over it, and the directory synced.
 * @param mode permission bits of the new file
 * @throws the file system's error; the old file is then intact and no temporary file is left
 */
export async function writeFileAtomic(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await replace(path, content, { mode, isDurable: true })
  await syncDirectory(dirname(path))
}

/**
 * The same without waiting for the disk: a reader, or the next start of this program, sees the old content or the new,
 * but after a power cut the file may be empty. For what is cheap to lose and written often.
 */
export async function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await replace(path, content, { mode, isDurable: false })
}

async function replace(
  path: string,
  content: string | Uint8Array,
  { mode, isDurable }: { mode: number; isDurable: boolean },
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}${TEMPORARY_SUFFIX}`
  try {
    const file = await open(temporary, 'wx', mode)
    try {
      await file.writeFile(content)
      if (isDurable) await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Removes the temporary files that a crash left in a directory. The caller is the only writer of it. */
export async function removeTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.endsWith(TEMPORARY_SUFFIX)) await rm(join(directory, name), { force: true })
  }
}

/** Makes sure that names created or removed in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
