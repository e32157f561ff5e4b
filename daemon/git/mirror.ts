/**
 * Mirrors: one bare repository per address, from which all loops borrow objects. It follows the branches and tags of its
 * origin, and never loses an object. Written by one git at a time.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isLoopatError, LoopatError } from '@loopatd/protocol/error'
import type { Clock } from '../lib/clock.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import type { GitReach } from './git-env.ts'
import { inWorkspace, sourceUnavailable } from './git-error.ts'
import { reportProgress } from './git-progress.ts'
import { GitFailure, type GitRunner } from './git-runner.ts'
import { configureMirror, readHead, removeLeftovers, sweepMirrors, writeHead } from './mirror-files.ts'
import {
  DETACHED,
  defaultRef,
  hasBranches,
  ORIGIN,
  parseRefs,
  parseRemoteHead,
  type Refs,
  type RemoteHead,
} from './mirror-refs.ts'
import { isMirrorName, type RepoSource } from './repo-source.ts'
import { checkSourcePath, shallowSource } from './source-path.ts'

/** Milliseconds without a sign of life: of a remote that is asked a small question, of a refresh, of a first fetch. */
const BLOCK_MS = { ask: 30_000, refresh: 60_000, first: 300_000 } as const
/** For calls that touch only our own disk. */
export const LOCAL_BLOCK_MS = 60_000

/** A mirror as it is after a refresh. */
export interface MirrorState {
  readonly name: string
  readonly gitDir: string
  readonly refs: Refs
  /** The ref of the origin's default branch, when it is known. */
  readonly head: string | undefined
  readonly objectFormat: 'sha1' | 'sha256'
}

/** What {@link Mirrors} is made of. */
export interface MirrorsOptions {
  /** The workspace. */
  readonly home: string
  readonly git: GitRunner
  /** How a source may be reached. @throws `repo_unavailable` when it may not */
  readonly reach: (source: RepoSource) => Promise<GitReach>
  readonly log: Logger
  readonly clock: Clock
}

/** All mirrors of a workspace. */
export class Mirrors {
  readonly #options: MirrorsOptions
  readonly #directory: string
  readonly #writing = new KeyedMutex()
  /** When the last successful fetch of a mirror began. */
  readonly #fetched = new Map<string, number>()

  constructor(options: MirrorsOptions) {
    this.#options = options
    this.#directory = join(options.home, 'mirrors')
  }

  /**
   * Absolute path of a mirror.
   * @throws `repo_invalid` when no mirror can have the name
   */
  path(mirror: string): string {
    if (isMirrorName(mirror)) return join(this.#directory, `${mirror}.git`)
    throw new LoopatError('repo_invalid', `no mirror can have the name '${mirror}'`)
  }

  /** Removes what a crash left behind. To be called once, before anything else. */
  async sweep(): Promise<void> {
    await inWorkspace('the directory of the mirrors', async () => {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 })
      const removed = await sweepMirrors(this.#directory)
      if (removed.length > 0) this.#options.log.info({ removed }, 'removed what an earlier run left in the mirrors')
    })
  }

  /**
   * Makes the mirror of a source, or fetches what is new. When a mirror exists, a fetch that fails is only a warning.
   * @throws `repo_unavailable`, `repo_invalid`, `git_failed`, `storage_failed`, or the reason of the signal
   */
  async refresh(source: RepoSource, onProgress: OnProgress, signal: AbortSignal): Promise<MirrorState> {
    const asked = this.#options.clock.monotonicMs()
    if (this.#writing.isBusy(source.mirror)) onProgress({ message: `waiting for another fetch of ${source.source}` })
    return await this.#writing.run(
      source.mirror,
      () =>
        inWorkspace(`the mirror of '${source.url}'`, async () => {
          const gitDir = this.path(source.mirror)
          const reach = await this.#options.reach(source)
          const job = { source, gitDir, reach, onProgress, signal }
          if (!(await isDirectory(gitDir))) await this.#create(job)
          // Who waited for somebody else's fetch that began after the question has a fresh mirror already.
          else if ((this.#fetched.get(source.mirror) ?? Number.NEGATIVE_INFINITY) < asked) await this.#refresh(job)
          return await this.#read(source, gitDir, signal)
        }),
      signal,
    )
  }

  /** Runs `work` as the only writer of a mirror. */
  async exclusively<T>(mirror: string, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return await this.#writing.run(mirror, work, signal)
  }

  /** Runs `work` with a fresh directory beside the mirrors, and removes it afterwards. */
  async withTemporary<T>(kind: 'new' | 'kept', work: (directory: string) => Promise<T>): Promise<T> {
    const directory = join(this.#directory, `.${kind}-${randomBytes(6).toString('hex')}`)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    try {
      return await work(directory)
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }

  async #create(job: MirrorJob): Promise<void> {
    const { source, gitDir, signal } = job
    job.onProgress({ message: `fetching ${source.source}` })
    await this.withTemporary('new', async (temporary) => {
      const fresh = join(temporary, 'mirror.git')
      const began = this.#options.clock.monotonicMs()
      const head = await this.#ask(job, temporary)
      const format = await this.#objectFormat(job, head, temporary)
      await this.#options.git.run(
        {
          args: ['init', '--bare', '--template=', '--initial-branch=none', `--object-format=${format}`],
          cwd: temporary,
          gitDir: fresh,
          blockMs: LOCAL_BLOCK_MS,
        },
        signal,
      )
      await configureMirror(fresh, source.url)
      const refs = await this.#fetch({ ...job, gitDir: fresh }, head, BLOCK_MS.first)
      if (head.oid !== undefined && !hasBranches(refs) && !refs.has(DETACHED)) throw shallowSource(source)
      await rename(fresh, gitDir)
      this.#fetched.set(source.mirror, began)
    })
  }

  async #refresh(job: MirrorJob): Promise<void> {
    const { source, gitDir, signal } = job
    await this.#checkAddress(job)
    await removeLeftovers(gitDir)
    job.onProgress({ message: `fetching ${source.source}` })
    try {
      const began = this.#options.clock.monotonicMs()
      const head = await this.#ask(job, gitDir)
      await this.#fetch(job, head, BLOCK_MS.refresh)
      this.#fetched.set(source.mirror, began)
    } catch (error) {
      signal.throwIfAborted()
      if (!isLoopatError(error, 'repo_unavailable')) throw error
      this.#options.log.warn({ repo: source.url, reason: error.message }, 'a mirror could not be refreshed')
      job.onProgress({ message: `warning: ${error.message}; going on with what was fetched before` })
    }
  }

  /** Two addresses could, by ill will, have mirrors of one name. */
  async #checkAddress({ source, gitDir, signal }: MirrorJob): Promise<void> {
    const args = ['config', '--get', 'remote.origin.url']
    const url = await this.#options.git.run({ args, cwd: gitDir, gitDir, blockMs: LOCAL_BLOCK_MS }, signal)
    if (url.replace(/\n$/, '') === source.url) return
    throw new LoopatError('git_failed', `the mirror ${gitDir} is not one of '${source.url}'`)
  }

  /** Asks the origin for its HEAD. */
  async #ask(job: MirrorJob, cwd: string): Promise<RemoteHead> {
    if (job.source.kind === 'file') await checkSourcePath(job.source, this.#options.home)
    return parseRemoteHead(await this.#listRemote(job, ['--symref', '--', job.source.url, 'HEAD'], cwd))
  }

  /** A mirror must use the origin's kind of object ids; an empty origin does not tell. */
  async #objectFormat(job: MirrorJob, head: RemoteHead, cwd: string): Promise<'sha1' | 'sha256'> {
    const oid = head.oid ?? (await this.#listRemote(job, ['--heads', '--', job.source.url], cwd)).split('\t')[0]
    return oid?.length === 64 ? 'sha256' : 'sha1'
  }

  async #listRemote({ source, reach, signal }: MirrorJob, args: readonly string[], cwd: string): Promise<string> {
    const call = { args: ['ls-remote', ...args], cwd, gitDir: '/dev/null', reach, blockMs: BLOCK_MS.ask }
    return await fromSource(source, () => this.#options.git.run(call, signal))
  }

  /** Fetches all branches and tags, and notes the default branch. */
  async #fetch(job: MirrorJob, head: RemoteHead, blockMs: number): Promise<Refs> {
    const { source, gitDir, reach, signal } = job
    const refspecs = [
      `+refs/heads/*:${ORIGIN}*`,
      // Would be taken for the name of the default branch.
      '^refs/heads/HEAD',
      '+refs/tags/*:refs/tags/*',
      ...(head.oid !== undefined && head.branch === undefined ? [`+HEAD:${DETACHED}`] : []),
    ]
    const flags = ['--progress', '--prune', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance']
    const onLine = reportProgress(`fetching ${source.source}`, job.onProgress, this.#options.clock)
    const args = ['fetch', ...flags, '--no-recurse-submodules', '--', source.url, ...refspecs]
    await fromSource(source, () => this.#options.git.run({ args, cwd: gitDir, gitDir, reach, blockMs, onLine }, signal))
    const refs = await this.#refs(gitDir, signal)
    const main = defaultRef(head, refs)
    if (main !== undefined && main !== (await readHead(gitDir))) await writeHead(gitDir, main)
    return refs
  }

  async #read(source: RepoSource, gitDir: string, signal: AbortSignal): Promise<MirrorState> {
    const refs = await this.#refs(gitDir, signal)
    const head = await readHead(gitDir)
    const [oid] = refs.values()
    return {
      name: source.mirror,
      gitDir,
      refs,
      head: head !== undefined && refs.has(head) ? head : undefined,
      objectFormat: oid?.length === 64 ? 'sha256' : 'sha1',
    }
  }

  async #refs(gitDir: string, signal: AbortSignal): Promise<Refs> {
    const args = ['for-each-ref', '--format=%(objectname) %(refname)']
    return parseRefs(await this.#options.git.run({ args, cwd: gitDir, gitDir, blockMs: LOCAL_BLOCK_MS }, signal))
  }
}

interface MirrorJob {
  readonly source: RepoSource
  readonly gitDir: string
  readonly reach: GitReach
  readonly onProgress: OnProgress
  readonly signal: AbortSignal
}

async function fromSource<T>(source: RepoSource, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof GitFailure ? sourceUnavailable(source, error) : error
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}
