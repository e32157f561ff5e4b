import { LoopatError } from '@loopatd/protocol/error'
import { GitFailure } from './git-runner.ts'
import type { RepoSource } from './repo-source.ts'

/** File system errors that mean that the workspace cannot be written. */
const STORAGE_CODES = new Set(['EACCES', 'EDQUOT', 'EIO', 'EMFILE', 'ENFILE', 'ENOSPC', 'EPERM', 'EROFS'])

/**
 * Runs work in our own part of the file system, and says what its failures mean there.
 * @param what the thing that failed, for the message: `the mirror of …`
 * @throws `storage_failed`, `git_failed`, or whatever else `work` throws
 */
export async function inWorkspace<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asWorkspaceError(what, error)
  }
}

function asWorkspaceError(what: string, error: unknown): unknown {
  if (error instanceof GitFailure) return fromGit(what, error)
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code !== 'string' || !STORAGE_CODES.has(code)) return error
  return new LoopatError('storage_failed', `${what} cannot be written: ${code}`, {
    next: 'Check free space and permissions of the workspace.',
    cause: error,
  })
}

function fromGit(what: string, error: GitFailure): LoopatError {
  if (error.kind === 'storage_full') {
    return new LoopatError('storage_failed', `${what} cannot be written: ${error.message}`, {
      next: 'Free some space in the workspace.',
      cause: error,
    })
  }
  return new LoopatError('git_failed', `${what}: ${error.message}`, {
    ...(error.kind === 'missing' ? { next: 'Install git and util-linux.' } : {}),
    cause: error,
  })
}

const NEXT = {
  file: 'Check that the path is a git repository or a bundle that you own.',
  https:
    'Check the address. It must be readable without a password; reach a private repository over ssh, with [git] key.',
  ssh: 'Check the address, and that the key named by `[git] key` has no passphrase and may read the repository.',
} as const

/**
 * A source that git could not read, as a catalogue error. Failures of this host are told apart from those of the remote.
 * @param failure what git said
 */
export function sourceUnavailable(source: RepoSource, failure: GitFailure): LoopatError {
  if (failure.kind === 'missing' || failure.kind === 'storage_full')
    return fromGit(`the repository '${source.url}'`, failure)
  return unavailable(source, failure.message, { next: NEXT[source.kind], cause: failure })
}

/** `repo_unavailable` with the repository's name in front. */
export function unavailable(
  source: RepoSource,
  reason: string,
  options: { readonly next: string; readonly cause?: unknown },
): LoopatError {
  const named = source.source === source.url ? source.url : `${source.source} (${source.url})`
  const details = { repo: source.source, url: source.url }
  return new LoopatError('repo_unavailable', `the repository '${named}' cannot be cloned: ${reason}`, {
    ...options,
    details,
  })
}
