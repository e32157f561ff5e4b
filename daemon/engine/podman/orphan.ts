/**
 * Containers that run although podman has removed them. Podman that is killed while it stops a container removes it later
 * without stopping it.
 */
import { readFile, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { findByArgument, run } from './host.ts'

/** An argument of every monitor. */
const EVERY_MONITOR = '--exit-dir'

/** The process that watches over a container, as its arguments tell. */
interface Monitor {
  readonly container: string
  readonly name: string
  /** Directory that is there as long as podman has the container. */
  readonly bundle: string
  /** Path of the OCI runtime. */
  readonly runtime: string
}

/** What the names of our containers begin with. */
const OURS = 'loopat-'

/**
 * Ends what still runs of a container that podman has removed.
 * @param container id or name
 */
export async function endRemoved(container: string, env: NodeJS.ProcessEnv | undefined): Promise<void> {
  const monitors = await listMonitors(container)
  for (const monitor of monitors) if (await isRemoved(monitor)) await endByRuntime(monitor, env)
}

/**
 * Ends what still runs of all containers of ours that podman has removed.
 * @returns how many there were
 */
export async function endAllRemoved(env: NodeJS.ProcessEnv | undefined): Promise<number> {
  let ended = 0
  for (const monitor of await listMonitors(EVERY_MONITOR)) {
    if (!monitor.name.startsWith(OURS) || !(await isRemoved(monitor))) continue
    await endByRuntime(monitor, env)
    ended += 1
  }
  return ended
}

/** Monitors of containers, not of commands in them, that have a word among their arguments. */
async function listMonitors(word: string): Promise<Monitor[]> {
  const monitors: Monitor[] = []
  for (const pid of await findByArgument(word)) {
    const words = (await unlessGone(readFile(`/proc/${pid}/cmdline`, 'utf8')))?.split('\0') ?? []
    const after = (flag: string) => words[words.indexOf(flag) + 1] ?? ''
    const [container, name] = [after('-c'), after('-n')]
    if (basename(words[0] ?? '') !== 'conmon' || container === '' || container !== after('-u')) continue
    if (![container, name, EVERY_MONITOR].includes(word)) continue
    monitors.push({ container, name, bundle: after('-b'), runtime: after('-r') })
  }
  return monitors
}

async function isRemoved({ bundle }: Monitor): Promise<boolean> {
  return (await unlessGone(stat(bundle))) === undefined
}

/** Kills all of its processes. One that has just ended is no failure; one that cannot be ended is found again at the next start. */
async function endByRuntime({ runtime, container }: Monitor, env: NodeJS.ProcessEnv | undefined): Promise<void> {
  await run(runtime, ['delete', '--force', container], env)
}

async function unlessGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH', 'ENOTDIR'].includes(String(error.code))) {
      return undefined
    }
    throw error
  }
}
