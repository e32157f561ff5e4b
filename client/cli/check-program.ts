import { execFile } from 'node:child_process'
import { findDaemon } from '@loopatd/client'
import { LoopatError } from '@loopatd/protocol/error'

/**
 * Makes sure that a daemon that is about to be stopped could start again: runs `loopatd --check`.
 * @throws LoopatError `config_invalid` with the program's words, or when there is no program
 */
export async function checkDaemon(
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<void> {
  const loopatd = findDaemon(env)
  if (loopatd === undefined) {
    throw new LoopatError('config_invalid', 'the program loopatd is not found, so the daemon goes on as it is', {
      next: 'Install @loopatd/daemon, or set LOOPATD to the path of loopatd.',
    })
  }
  const complaint = await check(loopatd, env, signal)
  if (complaint === undefined) return
  throw new LoopatError('config_invalid', `the daemon would not start again, so it goes on as it is\n${complaint}`, {
    next: 'Correct that, then try again.',
  })
}

/** @returns what the program says against a start */
function check(
  loopatd: string,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    execFile(loopatd, ['--check'], { env: { ...env }, signal }, (error, _stdout, stderr) => {
      if (signal.aborted) reject(new LoopatError('cancelled', 'restarting was cancelled', { cause: signal.reason }))
      else resolve(error === null ? undefined : stderr.trim() || error.message)
    })
  })
}
