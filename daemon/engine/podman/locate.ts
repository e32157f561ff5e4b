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

/** A socket to try. */
export interface Candidate {
  readonly socketPath: string
  /** What names it, when somebody chose it; undefined for a usual place. */
  readonly setting?: string
}

/** A socket that did not answer as podman, and why. */
export interface SilentSocket extends Candidate {
  readonly reason: string
}

/** What the search found. */
export interface Located {
  /** The first socket that podman answers on, and its version. */
  readonly podman: { readonly socketPath: string; readonly version: string } | undefined
  /** Those tried before it. */
  readonly silent: readonly SilentSocket[]
}

/** Sockets to try, in this order. A `unix://` in front is allowed. */
export function candidateSockets({ environment, config, xdgRuntimeDir }: SocketHints): Candidate[] {
  const chosen = [
    { setting: 'LOOPAT_PODMAN_SOCKET', path: environment },
    { setting: 'engine.socket', path: config },
  ]
  const all = chosen.flatMap(({ setting, path }) =>
    path ? [{ socketPath: path.replace(/^unix:\/\//, ''), setting }] : [],
  )
  const usual = xdgRuntimeDir === undefined ? [] : [{ socketPath: join(xdgRuntimeDir, 'podman', 'podman.sock') }]
  const seen = new Set<string>()
  return [...all, ...usual].filter(({ socketPath }) => !seen.has(socketPath) && seen.add(socketPath))
}

/** What to tell somebody whose choice is not followed; undefined when nothing that was chosen is silent. */
export function describeSilent(silent: readonly SilentSocket[]): string | undefined {
  const told = silent.flatMap(({ socketPath, setting, reason }) =>
    setting === undefined ? [] : [`podman does not answer on ${socketPath}, which ${setting} names (${reason})`],
  )
  return told.length === 0 ? undefined : told.join('; ')
}

/**
 * Finds the first socket on which podman answers.
 * @throws the reason of the signal
 */
export async function locatePodman(candidates: readonly Candidate[], signal?: AbortSignal): Promise<Located> {
  const silent: SilentSocket[] = []
  for (const candidate of candidates) {
    const result = await ping(candidate.socketPath, ANSWER_MS, signal)
    if (result.kind === 'podman') {
      return { podman: { socketPath: candidate.socketPath, version: result.version }, silent }
    }
    silent.push({ ...candidate, reason: result.reason })
  }
  return { podman: undefined, silent }
}
