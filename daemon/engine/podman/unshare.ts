import { isAbsolute } from 'node:path'
import { EngineError } from '../engine.ts'
import { runPodman } from './program.ts'

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
  await runPodman(['unshare', 'rm', '-rf', '--', path], env, signal)
}
