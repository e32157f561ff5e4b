import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import type { Progress } from '@loopatd/protocol'
import { GitService, type GitServiceOptions } from '../../daemon/git/git-service.ts'
import type { CloneResult } from '../../daemon/git/repo-access.ts'
import type { RunInLoop } from '../../daemon/git/run-in-loop.ts'
import type { Logger } from '../../daemon/log.ts'
import { GIT_TEST_ENV, temporaryDirectory } from './repo.ts'

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
}

/** A workspace with a git service, and nothing else of the daemon. */
export interface GitWorkspace extends AsyncDisposable {
  /** Temporary directory, for source repositories too. */
  readonly root: string
  /** `LOOPAT_HOME`. */
  readonly home: string
  readonly service: GitService
  /** Makes the empty workdir of a loop. */
  workdir(id: string): Promise<string>
  /** Clones into the workdir of a new loop. */
  clone(source: string, options?: CloneOptions): Promise<CloneResult & { workdir: string; progress: Progress[] }>
}

/** Options of {@link GitWorkspace.clone}. */
export interface CloneOptions {
  readonly id?: string
  readonly ref?: string
  readonly signal?: AbortSignal
}

/** Makes a {@link GitWorkspace}. */
export async function gitWorkspace(
  options: Partial<GitServiceOptions['settings'] & { env: GitServiceOptions['env'] }> = {},
): Promise<GitWorkspace> {
  const { path: root, [Symbol.asyncDispose]: dispose } = await temporaryDirectory()
  const home = join(root, 'home')
  await mkdir(home, { mode: 0o700 })
  const service = new GitService({
    home,
    settings: { key: options.key, roster: options.roster ?? [] },
    env: options.env ?? { PATH: GIT_TEST_ENV.PATH },
    log: silent,
  })
  const workdir = async (id: string) => {
    const path = join(home, 'loops', id, 'workdir')
    await mkdir(path, { recursive: true })
    return path
  }
  let count = 0
  return {
    root,
    home,
    service,
    workdir,
    clone: async (source, { id = `loop-${++count}`, ref, signal } = {}) => {
      const path = await workdir(id)
      const progress: Progress[] = []
      const request = { source, ref, branch: `loop/work-${id}`, workdir: path }
      const result = await service.clone(request, (step) => progress.push(step), signal ?? new AbortController().signal)
      return { ...result, workdir: path, progress }
    },
    [Symbol.asyncDispose]: dispose,
  }
}

/** Plays a running loop: runs commands on this host in a workdir, whose borrowed objects resolve here too. */
export function runOnHost(cwd: string): RunInLoop {
  return async (command, { stdout }, signal) => {
    const [program = '', ...args] = command
    const child = spawn(program, args, { cwd, env: GIT_TEST_ENV, stdio: ['ignore', 'pipe', 'pipe'], signal })
    const exit = new Promise<number>((resolve, reject) => {
      child.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? resolve(127) : reject(error)))
      child.on('close', (code) => resolve(code ?? 137))
    })
    const output = stdout === undefined ? text(child.stdout) : pipeline(child.stdout, stdout, { end: false })
    const [exitCode, collected, stderr] = await Promise.all([exit, output, text(child.stderr)])
    return { exitCode, stdout: Buffer.from(collected ?? ''), stderr: Buffer.from(stderr) }
  }
}
