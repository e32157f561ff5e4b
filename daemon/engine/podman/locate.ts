import { join } from 'node:path'
import { ping } from './ping.ts'

/** How long a socket may take to answer while podman is looked for, in milliseconds; a socket unit may have to start it. */
const ANSWER_MS = 5000

/** Where a podman service may be. */
export interface SocketHints {
  /** From the environment (`LOOPAT_PODMAN_SOCKET`). */
  readonly environment?: string | undefined
  /** From the configuration. */
  readonly config?: string | undefined
  /** The user's runtime directory (`XDG_RUNTIME_DIR`). */
  readonly xdgRuntimeDir?: string | undefined
}

/** A socket that did not answer as podman, and why. */
export interface SilentSocket {
  readonly socketPath: string
  readonly reason: string
}

/** What the search found. */
export interface Located {
  /** The first socket that podman answers on. */
  readonly socketPath: string | undefined
  /** Those tried before it. */
  readonly silent: readonly SilentSocket[]
}

/** Sockets to try, in this order. A `unix://` in front is allowed. */
export function candidateSockets(hints: SocketHints): string[] {
  const user = hints.xdgRuntimeDir === undefined ? undefined : join(hints.xdgRuntimeDir, 'podman', 'podman.sock')
  const all = [hints.environment, hints.config, user].flatMap((path) => (path ? [path.replace(/^unix:\/\//, '')] : []))
  return [...new Set(all)]
}

/**
 * Finds the first socket on which podman answers.
 * @throws the reason of the signal
 */
export async function locatePodman(candidates: readonly string[], signal?: AbortSignal): Promise<Located> {
  const silent: SilentSocket[] = []
  for (const socketPath of candidates) {
    const result = await ping(socketPath, ANSWER_MS, signal)
    if (result.kind === 'podman') return { socketPath, silent }
    silent.push({ socketPath, reason: result.reason })
  }
  return { socketPath: undefined, silent }
}
