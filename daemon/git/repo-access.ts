import type { LoopInfo } from '@loopatd/protocol'
import type { OnProgress } from '../lib/progress.ts'
import type { RunInLoop } from './run-in-loop.ts'

/** A loop's repository, as it is kept in the loop's metadata. */
export type LoopRepo = NonNullable<LoopInfo['repo']>

/** What to clone, and where to. */
export interface CloneRequest {
  /** An `https://` or `ssh://` URL, `user@host:path`, an absolute path, or a roster name. */
  readonly source: string
  /** Branch, tag or commit to start from; default: the origin's default branch. */
  readonly ref?: string | undefined
  /** The branch to make, `loop/…`. */
  readonly branch: string
  /** Absolute path of an existing, empty directory on the host: `<home>/loops/<id>/workdir`. */
  readonly workdir: string
}

/** A finished clone. */
export interface CloneResult {
  readonly repo: LoopRepo
  readonly branch: string
}

/** Work in a loop that is nowhere else. Both lists are capped; the last entry then says that there is more. */
export interface UnpromotedWork {
  /** `<short id> <subject>` each. */
  readonly commits: string[]
  /** Paths of changed and untracked files. */
  readonly files: string[]
}

/** Repositories, as the loops need them. */
export interface RepoAccess {
  /**
   * Brings the mirror of the source up to date and fills `workdir` with a clone that borrows its objects. When it
   * fails or is aborted, `workdir` is empty again. The clone of an empty remote is on an unborn branch, and its
   * `start` is the null id.
   * @throws `repo_invalid`, `repo_unavailable`, `git_failed`, `storage_failed`, or the reason of the signal
   */
  clone(request: CloneRequest, onProgress: OnProgress, signal: AbortSignal): Promise<CloneResult>

  /**
   * Absolute path of a mirror on the host; it is mounted read-only at `/loopat/mirrors/<mirror>.git`.
   * @throws `repo_invalid` when the name is not one that {@link clone} gives
   */
  mirrorPath(mirror: string): string

  /**
   * Looks from inside the loop for work that is on no remote and not kept in the mirror: uncommitted files, commits,
   * stashes.
   * @throws `git_failed` when it cannot be told
   */
  unpromoted(run: RunInLoop, signal: AbortSignal): Promise<UnpromotedWork>

  /**
   * Copies the `loop/*` branches of the loop's clone that hold something new into the mirror. Only a bundle crosses; no
   * git runs on the host in a directory that the loop can write.
   * @returns the branches copied
   * @throws `git_failed`, `storage_failed`
   */
  keepBranches(run: RunInLoop, mirror: string, signal: AbortSignal): Promise<string[]>
}
