import { cp, lstat, readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { isDirectory } from './mount-fact.ts'

/** Where vaults are below a user's directory. */
const VAULTS = join('.loopat', 'vaults')

/**
 * Copies what a user keeps, but neither git's own files nor vaults, which hold credentials (table C-2, row 9). Links
 * stay links, wherever they lead: inside they lead to nothing of the host. Sockets, pipes and devices are left out.
 * Does nothing when there is nothing to copy.
 * @param from the user's directory; a link is as good as missing
 * @param to must not exist
 * @throws system errors such as a full disk
 */
export async function copyPersonal(from: string, to: string): Promise<void> {
  if (!(await isDirectory(from)) || !(await holdsAnything(from))) return
  await cp(from, to, {
    recursive: true,
    dereference: false,
    verbatimSymlinks: true,
    errorOnExist: true,
    force: false,
    filter: async (path) => await isCopied(from, path),
  })
}

async function holdsAnything(from: string): Promise<boolean> {
  for (const name of await readdir(from)) {
    const path = join(from, name)
    if (name === '.loopat' && (await isDirectory(path))) {
      if ((await readdir(path)).some((inner) => inner !== 'vaults')) return true
    } else if (await isCopied(from, path)) return true
  }
  return false
}

async function isCopied(from: string, path: string): Promise<boolean> {
  const place = relative(from, path)
  if (place === VAULTS || place.split('/').includes('.git')) return false
  const stats = await lstat(path)
  return stats.isDirectory() || stats.isFile() || stats.isSymbolicLink()
}
