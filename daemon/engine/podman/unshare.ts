import { execFile } from 'node:child_process'
import { isAbsolute } from 'node:path'
import { EngineError } from '../engine.ts'

/** Longest complaint of podman that is passed on, in characters. */
const MAX_COMPLAINT = 500

/**
 * Deletes a tree as the root of the user's own user namespace: files that a sandbox made under other uids belong to
 * sub-uids of the user, which the user itself must not delete. The API has no such call, so it needs the podman program.
 * Links are not followed; a missing tree is a success.
 * @param path absolute
 * @param env environment of podman; its PATH is where podman is looked for
 * @throws EngineError `unavailable` without podman, `failed` otherwise, or the reason of the signal
 */
export async function removeAsRoot(path: string, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<void> {
  if (!isAbsolute(path)) throw new EngineError('failed', `not an absolute path: ${path}`)
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const options = signal === undefined ? { env } : { env, signal }
    execFile('podman', ['unshare', 'rm', '-rf', '--', path], options, (error, _stdout, stderr) => {
      if (error === null) resolve()
      else if (signal?.aborted === true) reject(signal.reason)
      else reject(toEngineError(error, stderr))
    })
  })
}

function toEngineError(error: Error, stderr: string): EngineError {
  if ('code' in error && error.code === 'ENOENT') {
    return new EngineError('unavailable', 'cannot run podman: it is not on the PATH', { cause: error })
  }
  const complaint = stderr.trim().slice(-MAX_COMPLAINT)
  return new EngineError('failed', `podman unshare rm failed: ${complaint || error.message}`, { cause: error })
}
