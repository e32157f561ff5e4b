/** The way of commits out of a loop: a bundle, a quarantine, a check of every object, the mirror. */
import { createWriteStream } from 'node:fs'
import { mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { LoopatError } from '@loopatd/protocol/error'
import { inWorkspace } from './git-error.ts'
import type { GitCall, GitRunner } from './git-runner.ts'
import { gitCommand, gitInLoop, loopGitError } from './loop-output.ts'
import { LOCAL_BLOCK_MS, type Mirrors } from './mirror.ts'
import { removeLeftovers } from './mirror-files.ts'
import { parseRefs, type Refs } from './mirror-refs.ts'
import type { RunInLoop } from './run-in-loop.ts'

/** Most bytes of a bundle: a loop's own commits, without what the mirror has. */
const MAX_BUNDLE_BYTES = 1024 * 1024 * 1024
/** Most bytes of the list of refs at its begin. */
const MAX_HEADER_BYTES = 256 * 1024
/** Milliseconds: checking a large pack says nothing for long. */
const LONG_BLOCK_MS = 600_000
const BRANCHES = 'refs/heads/loop/'
/** Not forced: what was kept before is never overwritten. */
const REFSPEC = `${BRANCHES}*:${BRANCHES}*`
const FETCH = ['fetch', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance', '--no-recurse-submodules', '--']

/** Whence and where to. */
export interface KeepJob {
  readonly run: RunInLoop
  readonly mirror: string
  /** Path of the mirror. */
  readonly gitDir: string
  readonly mirrors: Mirrors
  readonly git: GitRunner
  /** Default: 1 GiB. */
  readonly maxBytes?: number
}

/**
 * Copies the `loop/*` branches that hold anything new.
 * @returns their names
 * @throws `git_failed`, `storage_failed`, or the reason of the signal
 */
export async function keepBranches(job: KeepJob, signal: AbortSignal): Promise<string[]> {
  if (!(await hasNews(job.run, signal))) return []
  return await inWorkspace(`the mirror ${job.mirror}`, () =>
    job.mirrors.withTemporary('kept', async (directory) => {
      const bundle = join(directory, 'loop.bundle')
      await receive(job, bundle, signal)
      await checkHeader(bundle)
      const quarantine = join(directory, 'quarantine.git')
      const refs = await unpack(job, { directory, bundle, quarantine }, signal)
      await job.mirrors.exclusively(job.mirror, () => take(job, quarantine, signal), signal)
      return [...refs.keys()].map((name) => name.slice('refs/heads/'.length))
    }),
  )
}

/** Git refuses to make an empty bundle. */
async function hasNews(run: RunInLoop, signal: AbortSignal): Promise<boolean> {
  const args = ['rev-list', '--max-count=1', '--branches=loop/*', '--not', '--alternate-refs', '--']
  const result = await gitInLoop(run, args, signal)
  if (result.exitCode !== 0) throw loopGitError(result)
  return result.stdout !== ''
}

/** Lets git bundle the branches inside the loop, and writes what comes out into a file of ours. */
async function receive(
  { run, maxBytes = MAX_BUNDLE_BYTES }: KeepJob,
  file: string,
  signal: AbortSignal,
): Promise<void> {
  let bytes = 0
  const limit = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      bytes += chunk.length
      if (bytes <= maxBytes) done(null, chunk)
      else done(new LoopatError('git_failed', `the loop's branches hold more than ${maxBytes} bytes`))
    },
  })
  const broken = new AbortController()
  const written = pipeline(limit, createWriteStream(file, { flags: 'wx', mode: 0o600 }))
  // The limit that ends the command is ours, above; that of `run` lies beyond it. Whatever breaks the writing ends the command, and is what is thrown below.
  written.catch((error: unknown) => broken.abort(error))
  const args = ['bundle', 'create', '--quiet', '-', '--branches=loop/*', '--not', '--alternate-refs']
  try {
    const result = await run(
      gitCommand(args),
      { stdout: limit, maxBytes: 2 * maxBytes },
      AbortSignal.any([signal, broken.signal]),
    )
    limit.end()
    await written
    if (result.exitCode !== 0) throw loopGitError(result)
  } catch (error) {
    limit.destroy()
    await Promise.allSettled([written])
    broken.signal.throwIfAborted()
    throw error
  }
}

/** A list of refs can be made so long that reading it is an attack. */
async function checkHeader(bundle: string): Promise<void> {
  const file = await open(bundle, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_HEADER_BYTES), 0, MAX_HEADER_BYTES, 0)
    const header = buffer.subarray(0, bytesRead)
    if (header.indexOf('# v') === 0 && header.includes('\n\n')) return
    throw new LoopatError('git_failed', 'what the loop gave out is no bundle, or names too many branches')
  } finally {
    await file.close()
  }
}

/** Unpacks the bundle into a repository of its own, which may look up what the mirror has. */
async function unpack(
  { gitDir, git }: KeepJob,
  place: { directory: string; bundle: string; quarantine: string },
  signal: AbortSignal,
): Promise<Refs> {
  const { directory, bundle, quarantine } = place
  const call = (args: readonly string[], more: Partial<GitCall> = {}): Promise<string> =>
    git.run({ args, cwd: directory, gitDir: quarantine, blockMs: LOCAL_BLOCK_MS, ...more }, signal)
  const sha256 = /objectformat\s*=\s*sha256/i.test(await readFile(join(gitDir, 'config'), 'utf8'))
  const format = `--object-format=${sha256 ? 'sha256' : 'sha1'}`
  await call(['init', '--bare', '--template=', '--initial-branch=none', format])
  await mkdir(join(quarantine, 'objects/info'), { recursive: true })
  await writeFile(join(quarantine, 'objects/info/alternates'), `${join(gitDir, 'objects')}\n`)
  await call([...FETCH, bundle, REFSPEC], { reach: { kind: 'file' }, blockMs: LONG_BLOCK_MS })
  return parseRefs(await call(['for-each-ref', '--format=%(objectname) %(refname)', BRANCHES]))
}

/** Takes over what the quarantine holds; git checks every object on the way. */
async function take({ gitDir, git }: KeepJob, quarantine: string, signal: AbortSignal): Promise<void> {
  await removeLeftovers(gitDir)
  await git.run(
    {
      args: ['-c', 'fetch.fsckObjects=true', ...FETCH, quarantine, REFSPEC],
      cwd: gitDir,
      gitDir,
      reach: { kind: 'file' },
      blockMs: LONG_BLOCK_MS,
    },
    signal,
  )
}
