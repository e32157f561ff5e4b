import { access, constants, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol/error'
import { type Clock, systemClock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import { type Env, type GitReach, sshCommand } from './git-env.ts'
import { inWorkspace, unavailable } from './git-error.ts'
import { GitFailure, GitRunner } from './git-runner.ts'
import { printable } from './git-text.ts'
import { keepBranches } from './keep-branch.ts'
import { makeLoopClone } from './loop-clone.ts'
import { LOCAL_BLOCK_MS, type MirrorState, Mirrors } from './mirror.ts'
import { findStart, hasBranches, ORIGIN } from './mirror-refs.ts'
import { checkRef } from './ref-name.ts'
import type { CloneRequest, CloneResult, RepoAccess, UnpromotedWork } from './repo-access.ts'
import { parseRepoSource, type RepoSource, type RosterEntry } from './repo-source.ts'
import type { RunInLoop } from './run-in-loop.ts'
import { findUnpromoted } from './unpromoted.ts'

/** The part of the configuration that concerns repositories. */
export interface GitSettings {
  /** `[git] key`: absolute path of the private key for ssh sources, without a passphrase. */
  readonly key?: string | undefined
  /** `[[repos]]`. */
  readonly roster: readonly RosterEntry[]
}

/** Options of {@link GitService}. */
export interface GitServiceOptions {
  /** Absolute path of the workspace. */
  readonly home: string
  readonly settings: GitSettings
  /** The daemon's environment; git gets its PATH and, for https, its proxies and certificates. */
  readonly env: Env
  readonly log: Logger
  /** Default: the clock of this machine. */
  readonly clock?: Clock
}

/** What the branches of loops begin with. */
const LOOP_BRANCH = 'loop/'

/** Repositories: mirrors, the loops' clones of them, and the way back. */
export class GitService implements RepoAccess {
  readonly #options: GitServiceOptions
  readonly #clock: Clock
  readonly #git: GitRunner
  readonly #mirrors: Mirrors

  constructor(options: GitServiceOptions) {
    const { home, log, env } = options
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#git = new GitRunner({ env, home, log })
    this.#mirrors = new Mirrors({
      home,
      git: this.#git,
      log,
      clock: this.#clock,
      reach: (source) => this.#reach(source),
    })
  }

  /**
   * Removes what a crash left behind. To be called once, before anything else.
   * @throws `storage_failed`
   */
  async sweep(): Promise<void> {
    await this.#mirrors.sweep()
  }

  async clone(request: CloneRequest, onProgress: OnProgress, signal: AbortSignal): Promise<CloneResult> {
    const { branch, workdir } = request
    const source = parseRepoSource(request.source, this.#options.settings.roster)
    if (request.ref !== undefined) checkRef(request.ref)
    checkRef(branch)
    if (!branch.startsWith(LOOP_BRANCH)) throw new LoopatError('internal', `a loop's branch is not called '${branch}'`)
    const mirror = await this.#mirrors.refresh(source, onProgress, signal)
    const start = await this.#start({ source, ref: request.ref, mirror }, signal)
    await inWorkspace(`the clone of '${source.url}'`, () =>
      makeLoopClone(
        { mirror, url: source.url, branch, start, workdir },
        { git: this.#git, clock: this.#clock },
        onProgress,
        signal,
      ),
    )
    const nullId = '0'.repeat(mirror.objectFormat === 'sha256' ? 64 : 40)
    return { repo: { source: source.source, url: source.url, mirror: mirror.name, start: start ?? nullId }, branch }
  }

  mirrorPath(mirror: string): string {
    return this.#mirrors.path(mirror)
  }

  async unpromoted(run: RunInLoop, signal: AbortSignal): Promise<UnpromotedWork> {
    return await findUnpromoted(run, signal)
  }

  async keepBranches(run: RunInLoop, mirror: string, signal: AbortSignal): Promise<string[]> {
    const gitDir = this.#mirrors.path(mirror)
    return await keepBranches({ run, gitDir, mirror, mirrors: this.#mirrors, git: this.#git }, signal)
  }

  /** The commit that a branch begins at; undefined in a repository without commits. */
  async #start(wanted: WantedStart, signal: AbortSignal): Promise<string | undefined> {
    const { source, ref, mirror } = wanted
    const start = findStart(ref, mirror.head, mirror.refs)
    if (start.kind === 'unborn') return undefined
    if (start.kind === 'unknown') throw unknownRef(wanted)
    if (start.kind === 'commit') return start.oid
    const args = ['rev-parse', '--verify', '--quiet', `${start.expression}^{commit}`]
    const call = { args, cwd: mirror.gitDir, gitDir: mirror.gitDir, blockMs: LOCAL_BLOCK_MS }
    return await inWorkspace(`the mirror of '${source.url}'`, async () => {
      try {
        return (await this.#git.run(call, signal)).trim()
      } catch (error) {
        throw error instanceof GitFailure && error.kind === 'failed' ? unknownRef(wanted) : error
      }
    })
  }

  async #reach(source: RepoSource): Promise<GitReach> {
    if (source.kind !== 'ssh') return { kind: source.kind }
    const { key } = this.#options.settings
    if (key === undefined) {
      throw unavailable(source, 'no key for ssh is configured, and the keys and the agent of the host are never used', {
        next: 'Set `key = "/path/to/a/private/key"` under [git] in config.toml.',
      })
    }
    await checkKey(key, source)
    return { kind: 'ssh', command: sshCommand({ key, knownHosts: join(this.#options.home, 'known_hosts') }) }
  }
}

/** ssh would only say that permission is denied. */
async function checkKey(key: string, source: RepoSource): Promise<void> {
  try {
    await access(key, constants.R_OK)
  } catch (error) {
    throw unavailable(source, `the key ${key} cannot be read`, {
      next: 'Correct `key` under [git] in config.toml.',
      cause: error,
    })
  }
  const { mode } = await stat(key)
  if ((mode & 0o077) === 0) return
  throw unavailable(source, `other users may read the key ${key}, so ssh does not use it`, { next: `chmod 600 ${key}` })
}

interface WantedStart {
  readonly source: RepoSource
  readonly ref: string | undefined
  readonly mirror: MirrorState
}

function unknownRef({ source, ref, mirror }: WantedStart): LoopatError {
  const branches = [...mirror.refs.keys()]
    .filter((name) => name.startsWith(ORIGIN))
    .map((name) => name.slice(ORIGIN.length))
  const some = branches.slice(0, 10).map((name) => printable(name, 80))
  const known = `Its branches: ${some.join(', ')}${branches.length > some.length ? ', …' : ''}.`
  const message =
    ref === undefined
      ? `the repository '${source.source}' does not tell its default branch`
      : `the repository '${source.source}' has no branch, tag or commit '${printable(ref)}'`
  const next = hasBranches(mirror.refs) ? `Name one with --ref. ${known}` : 'It has no commits yet: leave the ref out.'
  return new LoopatError('repo_invalid', message, { next, details: { repo: source.source, ref, branches: some } })
}
