import { readFile, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { LoopatError } from '@loopatd/protocol/error'
import { unavailable } from './git-error.ts'
import type { RepoSource } from './repo-source.ts'

/**
 * Looks at a source that is a path before git does. Git runs inside such a repository to read from it, so it must be
 * nothing that a sandbox can write.
 * @param home the workspace
 * @throws `repo_invalid` when it lies in the workspace; `repo_unavailable` when it is missing, belongs to somebody else
 * or lacks history
 */
export async function checkSourcePath(source: RepoSource, home: string): Promise<void> {
  try {
    await look(source, home)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw unavailable(source, 'there is no such path', {
        next: 'Check the path; it is that of the host.',
        cause: error,
      })
    }
    if (code === 'EACCES' || code === 'ELOOP') {
      throw unavailable(source, `the path cannot be read (${code})`, { next: 'Check its permissions.', cause: error })
    }
    throw error
  }
}

async function look(source: RepoSource, home: string): Promise<void> {
  const real = await realpath(source.url)
  const found = await stat(real)
  if (!found.isDirectory()) return
  const own = process.getuid?.()
  if (found.uid !== own) throw foreign(source)
  const dotGit = join(real, '.git')
  const gitDir = await ifPresent(() => stat(dotGit))
  const places = [real, ...(gitDir?.isFile() === true ? [await linkedGitDir(real, dotGit)] : [])]
  const workspace = await realpath(home)
  if (places.some((place) => `${place}${sep}`.startsWith(`${workspace}${sep}`))) throw insideWorkspace(source)
  if (gitDir !== undefined && gitDir.uid !== own) throw foreign(source)
  for (const shallow of [join(real, 'shallow'), join(dotGit, 'shallow')]) {
    if ((await ifPresent(() => stat(shallow))) !== undefined) throw shallowSource(source)
  }
}

/** A source without its whole history, from which nobody can borrow. */
export function shallowSource(source: RepoSource): LoopatError {
  return unavailable(source, 'it is a shallow clone', {
    next: 'Complete it with `git fetch --unshallow`, or name the repository that it was cloned from.',
  })
}

/** The directory that a `.git` file names. */
async function linkedGitDir(real: string, dotGit: string): Promise<string> {
  const target = /^gitdir: (.+)\n?$/.exec(await readFile(dotGit, 'utf8'))?.[1] ?? '.'
  return (await ifPresent(() => realpath(target.startsWith('/') ? target : join(real, target)))) ?? real
}

async function ifPresent<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look()
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return undefined
    throw error
  }
}

function insideWorkspace(source: RepoSource): LoopatError {
  return new LoopatError(
    'repo_invalid',
    `the repository '${source.url}' lies in the workspace, where loops can write`,
    {
      next: "Name the loop's origin instead, or clone it to a place outside the workspace.",
      details: { repo: source.source },
    },
  )
}

function foreign(source: RepoSource): LoopatError {
  return unavailable(source, 'it belongs to another user, and git refuses to read it', {
    next:
      `Let its owner run \`git -C ${source.url} bundle create FILE HEAD --branches --tags\`, ` +
      'make FILE yours, and give its path.',
  })
}
