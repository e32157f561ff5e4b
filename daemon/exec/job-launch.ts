import { randomBytes } from 'node:crypto'
import { copyFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { abortable } from '../lib/abort.ts'
import { errorCode } from '../lib/error-code.ts'
import { commandError } from './command-error.ts'
import type { CommandRequest, CommandRunner } from './command-runner.ts'
import type { LoopUse } from './exec-access.ts'
import { keep } from './exec-transfer.ts'
import { FirstBytes } from './truncate.ts'

/** Where jobs have their directories, inside. */
const ROOMS_INSIDE = '/loopat/run/job'
/** The job's program, inside. */
const PROGRAM_INSIDE = '/loopat/control/job'
/** Most that is read of what the program says, in bytes. */
const MAX_WORDS = 4096
/** Files of a log that stay: a log is kept in so many steps. */
const LOG_FILES = 4

/** A job that is to begin. */
export interface Launch extends Pick<CommandRequest, 'command' | 'cwd' | 'env'> {
  readonly id: string
  /** Reference of the loop, for messages. */
  readonly loop: string
  /** Output to keep per stream, in bytes. */
  readonly maxLogBytes: number
}

/** What begins a job. */
export interface LaunchTools {
  readonly runner: CommandRunner
  /** The job's program on the host. */
  readonly program: string
}

/**
 * Begins a job: a program inside takes it over before this resolves.
 * @returns the session of the command, inside
 * @throws `exec_not_found`, `exec_not_executable`, `job_failed`, `loop_not_running`, `storage_failed`, the reason of the
 * signal; the job may have begun only if the signal aborted
 */
export async function launchJob(
  { runner, program }: LaunchTools,
  use: LoopUse,
  launch: Launch,
  signal: AbortSignal,
): Promise<number> {
  await install(program, use.control)
  const { id, maxLogBytes, command, cwd, env } = launch
  const words = ['/bin/sh', PROGRAM_INSIDE, 'start', ROOMS_INSIDE, id, `${Math.ceil(maxLogBytes / LOG_FILES)}`]
  await using started = await runner
    .start(use, { command: [...words, ...command], cwd, env, stdin: false }, signal)
    .catch((error: unknown) => {
      throw commandError(error, { command: ['/bin/sh'], cwd, loop: launch.loop })
    })
  const { exec } = started
  try {
    const [stdout, stderr] = [new FirstBytes(MAX_WORDS), new FirstBytes(MAX_WORDS)]
    await abortable(Promise.all([keep(exec.stdout, stdout), keep(exec.stderr, stderr), exec.exit]), signal)
    return readAnswer(launch, stdout.end().toString(), stderr.end().toString())
  } catch (error) {
    await runner.end(started)
    throw commandError(error, { command: [...command], cwd, loop: launch.loop })
  }
}

/** What the program said. @throws LoopatError when it is not that the job began */
function readAnswer({ command, id }: Launch, stdout: string, stderr: string): number {
  const program = command[0] ?? ''
  const [, verb, rest = ''] = /^(began|missing|unfit|failed)(?: ([^\n]*))?\n$/.exec(stdout) ?? []
  if (verb === 'began' && /^[1-9]\d{0,9}$/.test(rest)) return Number(rest)
  if (verb === 'missing') throw new LoopatError('exec_not_found', `"${program}" was not found in the loop`)
  if (verb === 'unfit') {
    throw new LoopatError('exec_not_executable', `"${program}" cannot be executed`, {
      next: 'Check its mode and its interpreter.',
    })
  }
  const why = verb === 'failed' ? rest : stderr.trim() || 'its program in the loop was ended'
  throw new LoopatError('job_failed', `the job could not be begun: ${why}`, {
    next: 'Check the space and the permissions of /loopat/run in the loop.',
    details: { job: id },
  })
}

/** Puts the program where the loop finds it. One that runs keeps the file it has. @throws `storage_failed` */
async function install(program: string, control: string): Promise<void> {
  const path = join(control, 'job')
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await copyFile(program, temporary)
    await rename(temporary, path)
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    await rm(temporary, { force: true })
    throw new LoopatError('storage_failed', `cannot write ${path} (${code})`, {
      next: `Check the space and the permissions of ${control}.`,
      details: { path, code },
      cause: error,
    })
  }
}
