import { isEngineError } from '../engine.ts'
import type { ApiCall, PodmanApi } from './api.ts'
import { isAtWorkOn } from './container-work.ts'
import { splitName } from './image-name.ts'
import { runPodman } from './program.ts'

/** What is committed. */
export interface Commit {
  readonly container: string
  /** Fully qualified name of the image. */
  readonly tag: string
  /** Environment of the podman program; undefined for that of this process. */
  readonly env: NodeJS.ProcessEnv | undefined
}

/** What podman 4 says when the user's storage.conf names a driver and no places, which every other call gets along with. */
const NO_PLACES = /runroot must be set/

/**
 * Makes an image of a container. Nothing is paused: without cgroups podman cannot, and the container is stopped.
 * @throws EngineError, or the reason of the signal
 */
export async function commitContainer(api: PodmanApi, wanted: Commit, signal?: AbortSignal): Promise<void> {
  const { container, tag: name, env } = wanted
  const { repo, tag } = splitName(name)
  const call: ApiCall = {
    method: 'POST',
    // The Docker-compatible call wants a body that nothing is read from.
    path: '/v4.0.0/libpod/commit',
    query: { container, repo, tag, pause: false },
    ok: [200],
    what: `make ${name} of container ${container}`,
    repeatable: true,
    isAtWork: isAtWorkOn(container),
  }
  try {
    await api.call(call, signal)
  } catch (error) {
    if (!isEngineError(error, 'failed') || !NO_PLACES.test(error.message)) throw error
    await runPodman(['commit', '--quiet', '--pause=false', container, name], env, signal)
  }
}
