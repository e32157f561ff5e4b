import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * Deletes a tree of which parts belong to sub-uids: containers make such files, and the host user itself must not
 * delete them. Runs as root of the user's own namespace, which the API cannot do.
 * @param path absolute
 * @param env where podman is found
 * @throws the error of the program, with its output
 */
export async function removeAsRoot(path: string, env: Readonly<Record<string, string>>): Promise<void> {
  await run('podman', ['unshare', 'rm', '-rf', '--one-file-system', '--', path], { env })
}
