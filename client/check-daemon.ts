/** Asking the daemon's program, without starting it, whether it could start. */
import { execFile } from 'node:child_process'
import { LoopatError } from '@loopatd/protocol/error'

/**
 * Runs `loopatd --check`.
 * @param loopatd path of the program
 * @returns what it says against a start, as people read it; undefined when nothing is wrong
 * @throws LoopatError `cancelled`
 */
export function checkDaemon(
  loopatd: string,
  env: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    execFile(loopatd, ['--check'], { env: { ...env }, signal }, (error, _stdout, stderr) => {
      if (signal?.aborted) reject(new LoopatError('cancelled', 'the check was cancelled', { cause: signal.reason }))
      else resolve(error === null ? undefined : stderr.trim() || error.message)
    })
  })
}
