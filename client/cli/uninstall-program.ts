import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { UninstallLine } from '@loopatd/protocol'
import { isErrorName, LoopatError } from '@loopatd/protocol/error'

type Fact = Exclude<UninstallLine, { readonly error: unknown }>

/** How to run `loopatd uninstall`. */
export interface UninstallProgram {
  /** Path of loopatd. */
  readonly loopatd: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Whether to change nothing. */
  readonly onlyPlan: boolean
}

/**
 * Runs `loopatd uninstall` and hands on what it says, as it says it. It knows podman, which this program must not.
 * @throws LoopatError what it reports, `daemon_unreachable` when it says nothing that can be understood
 */
export async function* askUninstall(
  { loopatd, env, onlyPlan }: UninstallProgram,
  signal: AbortSignal,
): AsyncGenerator<Fact> {
  signal.throwIfAborted()
  const child = spawn(loopatd, ['uninstall', ...(onlyPlan ? ['--plan'] : [])], {
    env: { ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  closed.catch(() => undefined)
  // It ends the podman service that it may have started, so it is asked and not killed.
  const onAbort = () => void child.kill('SIGTERM')
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    let lines = 0
    for await (const line of createInterface({ input: child.stdout })) {
      lines += 1
      yield understand(line)
    }
    await closed
    if (lines === 0) throw new Error(`exit code ${child.exitCode}`)
  } catch (error) {
    if (error instanceof LoopatError) throw error
    throw new LoopatError('daemon_unreachable', `${loopatd} uninstall failed: ${String(error)}`, {
      next: 'Install the same version of loopctl and loopatd.',
      cause: error,
    })
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** @throws LoopatError what it reports, SyntaxError */
function understand(text: string): Fact {
  const line: UninstallLine = JSON.parse(text)
  if (!('error' in line)) return line
  const { name, message, next } = line.error
  throw new LoopatError(isErrorName(name) ? name : 'internal', message, next === null ? {} : { next })
}
