import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Reports whether nothing in a tree changed since a moment, by the change times that the kernel keeps and programs
 * cannot set. Only for trees that no sandbox could write yet: then a clone that nobody touched is known without
 * looking into it with git.
 * @param since milliseconds since the epoch, taken after the last file was written
 */
export async function isUntouched(directory: string, since: number, signal: AbortSignal): Promise<boolean> {
  const pending = [directory]
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    signal.throwIfAborted()
    const stats = await lstat(path)
    if (Math.floor(stats.ctimeMs) > since) return false
    if (!stats.isDirectory()) continue
    for (const name of await readdir(path)) pending.push(join(path, name))
  }
  return true
}
