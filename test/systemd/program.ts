import { existsSync } from 'node:fs'
import { realpath, symlink } from 'node:fs/promises'
import { join } from 'node:path'

/** Finds a program in PATH. */
async function which(name: string): Promise<string> {
  const found = (process.env.PATH ?? '').split(':').find((directory) => existsSync(join(directory, name)))
  if (found === undefined) throw new Error(`${name} is not installed`)
  return await realpath(join(found, name))
}

/**
 * Fills a directory for PATH with everything that the daemon needs but podman.
 * @returns the directory
 */
export async function linkPrograms(directory: string): Promise<string> {
  for (const name of ['node', 'sh', 'readlink', 'flock', 'git', 'systemctl', 'systemd-notify']) {
    await symlink(await which(name), join(directory, name))
  }
  return directory
}
