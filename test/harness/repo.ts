import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** Environment for git in tests: nothing of the machine's user. */
export const GIT_TEST_ENV = {
  PATH: process.env.PATH ?? '/usr/bin:/bin',
  HOME: '/nonexistent',
  LC_ALL: 'C',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Ada',
  GIT_AUTHOR_EMAIL: 'ada@example.org',
  GIT_COMMITTER_NAME: 'Ada',
  GIT_COMMITTER_EMAIL: 'ada@example.org',
} as const

/** Runs git in a directory and returns what it wrote to stdout, trimmed. */
export async function git(cwd: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute('git', args, { cwd, env: GIT_TEST_ENV, maxBuffer: 64 * 1024 * 1024 })
  return stdout.trim()
}

/** A temporary directory that removes itself. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string
}

/** Makes a temporary directory. */
export async function temporaryDirectory(prefix = 'loopat-test-'): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), prefix))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/**
 * Makes a repository with one commit that holds the files.
 * @param options.branch default: `main`
 * @param options.files content by path; default: a `README`
 */
export async function makeRepo(
  path: string,
  options: { readonly branch?: string; readonly files?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  await mkdir(path, { recursive: true })
  await git(path, 'init', '--quiet', `--initial-branch=${options.branch ?? 'main'}`)
  await commit(path, options.files ?? { README: 'hello\n' }, 'first')
  return path
}

/** Writes files into a repository and commits them. @returns the commit's id */
export async function commit(path: string, files: Readonly<Record<string, string>>, message: string): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true })
    await writeFile(join(path, name), content)
  }
  await git(path, 'add', '--all')
  await git(path, 'commit', '--quiet', '--allow-empty', `--message=${message}`)
  return await git(path, 'rev-parse', 'HEAD')
}
