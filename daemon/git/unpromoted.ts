import { printable } from './git-text.ts'
import { gitInLoop, loopGitError } from './loop-output.ts'
import type { UnpromotedWork } from './repo-access.ts'
import type { RunInLoop } from './run-in-loop.ts'

/** Most entries of one list. */
const MAX_LISTED = 100

/**
 * Commits on any branch, tag or detached HEAD that no remote-tracking branch has, and no ref of the mirror: that is what
 * `--alternate-refs` says, so kept branches and what other loops fetched count as promoted.
 */
const COMMITS = [
  'log',
  `--max-count=${MAX_LISTED + 1}`,
  '--format=%h %s',
  '--abbrev=7',
  '--no-show-signature',
  '--no-color',
  '--exclude=refs/stash',
  '--all',
  '--not',
  '--remotes',
  '--alternate-refs',
  '--',
]
const STASHES = [
  'log',
  '--walk-reflogs',
  `--max-count=${MAX_LISTED + 1}`,
  '--format=%h stash: %gs',
  '--abbrev=7',
  '--no-color',
]
const FILES = ['status', '--porcelain=v1', '-z', '--untracked-files=normal', '--ignore-submodules=none', '--no-renames']

/**
 * Looks for work that is nowhere but in the loop.
 * @throws `git_failed` when git cannot tell: there is no git, or no repository any more
 */
export async function findUnpromoted(run: RunInLoop, signal: AbortSignal): Promise<UnpromotedWork> {
  const files = list((await ask(run, FILES, signal)).split('\0'), (entry) => entry.slice(3))
  const commits = await ask(run, COMMITS, signal)
  const stash = await gitInLoop(run, ['rev-parse', '--verify', '--quiet', 'refs/stash'], signal)
  const stashes = stash.exitCode === 0 ? await ask(run, [...STASHES, 'refs/stash', '--'], signal) : ''
  return { files, commits: list(`${commits}\n${stashes}`.split('\n')) }
}

async function ask(run: RunInLoop, args: readonly string[], signal: AbortSignal): Promise<string> {
  const result = await gitInLoop(run, args, signal)
  if (result.exitCode !== 0) throw loopGitError(result)
  return result.stdout
}

function list(entries: readonly string[], shorten: (entry: string) => string = (entry) => entry): string[] {
  const present = entries.filter((entry) => entry !== '')
  const shown = present.slice(0, MAX_LISTED).map((entry) => printable(shorten(entry), 200))
  return present.length > shown.length ? [...shown, '… and more'] : shown
}
