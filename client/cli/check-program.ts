import { checkDaemon, findDaemon } from '@loopatd/client'
import { LoopatError } from '@loopatd/protocol/error'

/**
 * Makes sure that a daemon that is about to be stopped could start again.
 * @throws LoopatError `config_invalid` with the reason
 */
export async function ensureStartable(
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<void> {
  const loopatd = findDaemon(env)
  if (loopatd === undefined) {
    throw new LoopatError('config_invalid', 'the program loopatd is not found, so the daemon goes on as it is', {
      next: 'Install @loopatd/daemon, or set LOOPATD to the path of loopatd.',
    })
  }
  const complaint = await checkDaemon(loopatd, env, signal)
  if (complaint === undefined) return
  throw new LoopatError('config_invalid', `the daemon would not start again, so it goes on as it is\n${complaint}`, {
    next: 'Correct that, then try again.',
  })
}
