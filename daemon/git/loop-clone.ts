/** A loop's own clone: its files are its own, its history is borrowed from a mirror. */
import { appendFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { LoopatError } from '@loopatd/protocol/error'
import type { Clock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import { reportProgress } from './git-progress.ts'
import type { GitRunner } from './git-runner.ts'
import { LOCAL_BLOCK_MS, type MirrorState } from './mirror.ts'
import { configValue } from './mirror-files.ts'
import { ORIGIN, packedRefs } from './mirror-refs.ts'

/** A checkout says nothing for as long as one large file takes. */
const CHECKOUT_BLOCK_MS = 300_000

/** What to make, of what. */
export interface LoopClone {
  readonly mirror: MirrorState
  readonly url: string
  readonly branch: string
  /** The commit to begin at; undefined for an unborn branch. */
  readonly start: string | undefined
  /** `<home>/loops/<id>/workdir`, empty. */
  readonly workdir: string
}

/** Tools for {@link makeLoopClone}. */
export interface CloneTools {
  readonly git: GitRunner
  readonly clock: Clock
}

/**
 * Fills the workdir. This is the one time that git runs there on the host: no sandbox has seen the directory yet. What
 * the repository brings along cannot run anything, since no filter, hook or driver is configured.
 * @throws `GitFailure` or an error of the file system; the workdir is then empty
 */
export async function makeLoopClone(
  clone: LoopClone,
  tools: CloneTools,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<void> {
  const { workdir } = clone
  if ((await readdir(workdir)).length > 0) throw new LoopatError('internal', `the workdir ${workdir} is not empty`)
  try {
    await initialise(clone, tools.git, signal)
    await checkOut(clone, tools, onProgress, signal)
  } catch (error) {
    for (const name of await readdir(workdir)) await rm(join(workdir, name), { recursive: true, force: true })
    throw error
  }
}

async function initialise(clone: LoopClone, git: GitRunner, signal: AbortSignal): Promise<void> {
  const { mirror, workdir } = clone
  const gitDir = join(workdir, '.git')
  const args = ['init', '--template=', `--initial-branch=${clone.branch}`, `--object-format=${mirror.objectFormat}`]
  await git.run({ args, cwd: workdir, gitDir, blockMs: LOCAL_BLOCK_MS }, signal)
  await mkdir(join(gitDir, 'objects/info'), { recursive: true })
  await writeFile(join(gitDir, 'objects/info/alternates'), `${borrowedPath(gitDir, mirror)}\n`)
  await writeFile(join(gitDir, 'packed-refs'), packedRefs(mirror.refs))
  const remote = [
    '[remote "origin"]',
    `\turl = ${configValue(clone.url)}`,
    '\tfetch = +refs/heads/*:refs/remotes/origin/*',
  ]
  await appendFile(join(gitDir, 'config'), `${remote.join('\n')}\n`)
  if (mirror.head?.startsWith(ORIGIN) === true) {
    await mkdir(join(gitDir, ORIGIN), { recursive: true })
    await writeFile(join(gitDir, ORIGIN, 'HEAD'), `ref: ${mirror.head}\n`)
  }
}

/**
 * The path from the clone's objects to the mirror's. It must be this one, since it also leads from
 * `/loopat/loop/<id>/workdir` to `/loopat/mirrors` inside the loop.
 */
function borrowedPath(gitDir: string, mirror: MirrorState): string {
  const path = relative(join(gitDir, 'objects'), join(mirror.gitDir, 'objects'))
  if (path === `../../../../../mirrors/${mirror.name}.git/objects`) return path
  throw new LoopatError('internal', `a clone at ${gitDir} cannot borrow from ${mirror.gitDir}`)
}

async function checkOut(
  clone: LoopClone,
  tools: CloneTools,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<void> {
  const { workdir, start } = clone
  if (start === undefined) return
  onProgress({ message: `checking out ${clone.branch}` })
  await tools.git.run(
    {
      args: ['checkout', '--progress', '--no-track', '--no-recurse-submodules', '-B', clone.branch, start, '--'],
      cwd: workdir,
      gitDir: join(workdir, '.git'),
      workTree: workdir,
      blockMs: CHECKOUT_BLOCK_MS,
      onLine: reportProgress('checking out', onProgress, tools.clock),
    },
    signal,
  )
}
