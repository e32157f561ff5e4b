import { execFile } from 'node:child_process'
import { EngineError } from '../engine.ts'

/** Longest complaint of podman that is passed on, in characters. */
const MAX_COMPLAINT = 500

/**
 * Runs the podman program, for what the API has no call for.
 * @param args its arguments; the first words name the command in messages
 * @param env its environment; its PATH is where podman is looked for; undefined for that of this process
 * @throws EngineError `unavailable` without podman, `failed` otherwise, or the reason of the signal
 */
export async function runPodman(
  args: readonly string[],
  env: NodeJS.ProcessEnv | undefined,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const options = { ...(env === undefined ? {} : { env }), ...(signal === undefined ? {} : { signal }) }
    execFile('podman', args, options, (error, _stdout, stderr) => {
      if (error === null) resolve()
      else if (signal?.aborted === true) reject(signal.reason)
      else reject(toEngineError(args, error, stderr))
    })
  })
}

function toEngineError(args: readonly string[], error: Error, stderr: string): EngineError {
  if ('code' in error && error.code === 'ENOENT') {
    return new EngineError('unavailable', 'cannot run podman: it is not on the PATH', { cause: error })
  }
  const complaint = stderr.trim().slice(-MAX_COMPLAINT)
  const command = args.slice(0, 2).join(' ')
  return new EngineError('failed', `podman ${command} failed: ${complaint || error.message}`, { cause: error })
}
