/**
 * Runs git on the host: the only place that starts it, through simple-git, with an environment and settings of our own.
 * It must never be pointed at a directory that a sandbox can write.
 */
import { randomUUID } from 'node:crypto'
import { GitError, GitPluginError, type SimpleGitOptions, simpleGit } from 'simple-git'
import { killMarked, markOfCall, markOfHome } from '../lib/marked-process.ts'
import type { Logger } from '../log.ts'
import { type Env, GIT_CONFIG, type GitReach, gitEnv } from './git-env.ts'
import { meaningfulLine, printable, redactUserInfo } from './git-text.ts'

/** Most bytes that one call may write to stdout, and to stderr; a remote has a say in both. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024
/** Most characters of one line of stderr that are kept while it comes. */
const MAX_LINE = 4096

/** Milliseconds that git has to put its files in order when it is told to end. */
const GRACE_MS = 300

/** One call of git. */
export interface GitCall {
  readonly args: readonly string[]
  /** Directory to run in; it exists. */
  readonly cwd: string
  /** The repository; `/dev/null` for none. Git never looks for one by itself. */
  readonly gitDir: string
  readonly workTree?: string
  /** Default: no transport. */
  readonly reach?: GitReach
  /** Milliseconds without any output after which git is ended. */
  readonly blockMs: number
  /** Gets each line of stderr as it comes, progress included. */
  readonly onLine?: (line: string) => void
}

/** Why a call of git failed. */
export type GitFailureKind = 'failed' | 'missing' | 'storage_full' | 'timeout' | 'too_much_output'

/** The only error of {@link GitRunner.run}, but for the reason of its signal. The message is fit to be shown. */
export class GitFailure extends Error {
  override readonly name = 'GitFailure'
  readonly kind: GitFailureKind
  constructor(kind: GitFailureKind, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
  }
}

/** Runs git. */
export class GitRunner {
  readonly #env: Env
  readonly #home: string
  readonly #log: Logger

  /**
   * @param options.env the daemon's own environment, of which git gets a named few variables
   * @param options.home the workspace; no git outlives its daemon's successor
   */
  constructor(options: { readonly env: Env; readonly home: string; readonly log: Logger }) {
    this.#env = options.env
    this.#home = options.home
    this.#log = options.log
  }

  /**
   * Runs one command to its end, and ends it when the signal aborts.
   * @returns what it wrote to stdout
   * @throws {@link GitFailure} when it fails, the reason of the signal when that aborted
   */
  async run(call: GitCall, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted()
    const limit = new AbortController()
    const ended = AbortSignal.any([signal, limit.signal])
    const id = randomUUID()
    const git = simpleGit(options(call, ended))
    git.env({
      ...markOfHome(this.#home),
      ...markOfCall(id),
      ...gitEnv(this.#env, call.reach ?? { kind: 'none' }),
      GIT_DIR: call.gitDir,
      ...(call.workTree === undefined ? {} : { GIT_WORK_TREE: call.workTree }),
    })
    git.outputHandler((_command, stdout, stderr) => watch({ stdout, stderr, limit, onLine: call.onLine }))
    const started = performance.now()
    const onAbort = () => setTimeout(() => this.#endHelpers(id), GRACE_MS)
    ended.addEventListener('abort', onAbort, { once: true })
    try {
      return await git.raw([...call.args])
    } catch (error) {
      await this.#endHelpers(id)
      signal.throwIfAborted()
      throw limit.signal.aborted
        ? new GitFailure('too_much_output', 'git wrote more than anybody can read', { cause: error })
        : toFailure(error, call)
    } finally {
      ended.removeEventListener('abort', onAbort)
      const ms = Math.round(performance.now() - started)
      this.#log.debug({ args: call.args.map(redactUserInfo), gitDir: call.gitDir, ms }, 'git')
    }
  }

  /** Git is over in any case: that a helper of it may still run is not worth another error. */
  async #endHelpers(id: string): Promise<void> {
    try {
      const pids = await killMarked(markOfCall(id))
      if (pids.length > 0) this.#log.debug({ pids }, 'ended helpers that git left behind')
    } catch (error) {
      this.#log.warn({ err: error }, 'helpers of git could not be looked for')
    }
  }
}

/** A git that ended with anything but 0. simple-git keeps errors of its own class only. */
class GitExit extends GitError {
  readonly exitCode: number | null
  readonly stderr: string
  constructor(exitCode: number | null, stderr: string) {
    super(undefined, `git ended with ${exitCode ?? 'a signal'}`)
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

function options(call: GitCall, abort: AbortSignal): Partial<SimpleGitOptions> {
  return {
    baseDir: call.cwd,
    // A session of its own: no terminal to ask at, no Ctrl-C that was meant for the daemon.
    binary: ['setsid', 'git'],
    config: [...GIT_CONFIG],
    trimmed: false,
    abort,
    timeout: { block: call.blockMs },
    // What git leaves behind (an ssh that still tries to connect) must not keep us waiting for ever.
    completion: { onClose: true, onExit: 2000 },
    // Closes stdin.
    input: () => Buffer.alloc(0),
    errors: (error, { exitCode, stdErr }) => {
      if (error instanceof GitPluginError) return error
      return exitCode === 0 ? undefined : new GitExit(exitCode, Buffer.concat(stdErr).toString())
    },
    allowEnvironment: [
      ...Object.keys(gitEnv({}, { kind: 'ssh', command: '' })),
      'GIT_DIR',
      'GIT_SSL_CAINFO',
      'GIT_SSL_CAPATH',
      'GIT_WORK_TREE',
    ].filter((name) => name.startsWith('GIT_')),
    // All of these are set by us alone, to constants that close the hole they are guarded for.
    unsafe: {
      allowUnsafeAskPass: true,
      allowUnsafeConfigPaths: true,
      allowUnsafeFsMonitor: true,
      allowUnsafeHooksPath: true,
      allowUnsafeSshCommand: true,
      allowUnsafeTemplateDir: true,
    },
  }
}

interface Watched {
  readonly stdout: NodeJS.ReadableStream
  readonly stderr: NodeJS.ReadableStream
  readonly limit: AbortController
  readonly onLine: ((line: string) => void) | undefined
}

function watch({ stdout, stderr, limit, onLine }: Watched): void {
  for (const stream of [stdout, stderr]) {
    let bytes = 0
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > MAX_OUTPUT_BYTES) limit.abort()
    })
  }
  if (onLine === undefined) return
  let rest = ''
  stderr.on('data', (chunk: Buffer) => {
    const lines = `${rest}${chunk.toString()}`.split(/[\r\n]/)
    rest = (lines.pop() ?? '').slice(0, MAX_LINE)
    for (const line of lines) if (line !== '') onLine(line)
  })
}

function toFailure(error: unknown, call: GitCall): GitFailure {
  const what = `git ${call.args[0]}`
  if (error instanceof GitPluginError && error.plugin === 'timeout') {
    const seconds = Math.round(call.blockMs / 1000)
    return new GitFailure('timeout', `no answer within ${seconds} s`, { cause: error })
  }
  if (!(error instanceof GitExit))
    return new GitFailure('failed', printable(`${what}: ${String(error)}`), { cause: error })
  // A negative number: it could not be started; 127: setsid did not find it.
  if (error.exitCode !== null && (error.exitCode < 0 || error.exitCode === 127)) {
    return new GitFailure('missing', 'git cannot be started on this host', { cause: error })
  }
  // Git has no other word for it; in the C locale this one is fixed.
  if (error.stderr.includes('No space left on device')) {
    return new GitFailure('storage_full', 'no space left on device', { cause: error })
  }
  const line = meaningfulLine(error.stderr)
  return new GitFailure('failed', line === '' ? `${what} ended with ${error.exitCode ?? 'a signal'}` : line, {
    cause: error,
  })
}
