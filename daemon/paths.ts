import { existsSync } from 'node:fs'
import { chmod, constants, copyFile, mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isLoopatError, LoopatError, type Workspace } from '@loopatd/protocol'

/** Where everything of a workspace is, on the host. */
export interface Paths {
  readonly home: string
  readonly config: string
  /** `<id>/{meta.json,workdir,home-upper,run}`. */
  readonly loops: string
  /** `<name>.git`, bare, read-only in every sandbox. */
  readonly mirrors: string
  readonly log: string
  /** Log of host commands. */
  readonly hostLog: string
  /** Sockets, locks and control directories; gone after a reboot. */
  readonly runtime: string
  readonly socket: string
  /** `<id>/`, the only part of the runtime directory that a sandbox sees (its own, read-only). */
  readonly control: string
  /** Files that are copied or built, shipped with the daemon. */
  readonly templates: string
}

/** Computes the places of a workspace. */
export function pathsOf(workspace: Workspace, templates: string): Paths {
  const { home, runtimeDir } = workspace
  return {
    home,
    config: join(home, 'config.toml'),
    loops: join(home, 'loops'),
    mirrors: join(home, 'mirrors'),
    log: join(home, 'log', 'loopatd.log'),
    hostLog: join(home, 'log', 'host.log'),
    runtime: runtimeDir,
    socket: workspace.socket,
    control: join(runtimeDir, 'control'),
    templates,
  }
}

/** Files whose locks make a workspace one process's alone: that of the socket, and that of the home. */
export function lockPaths({ socket, home }: Paths): readonly [string, string] {
  return [`${socket}.lock`, join(home, '.lock')]
}

/**
 * Finds the shipped templates: beside the package when installed, at the top of the checkout otherwise.
 * @param from URL of a module in the daemon's `dist`
 */
export function findTemplates(from: string): string {
  const packaged = fileURLToPath(new URL('../templates', from))
  return existsSync(packaged) ? packaged : fileURLToPath(new URL('../../templates', from))
}

/**
 * Makes the home (0700) with its directories, and the configuration from its template when there is none (W-4).
 * @returns whether the home is new, that is, it had no directory of loops
 * @throws LoopatError `storage_failed` when that cannot be done there
 */
export async function prepareHome(paths: Paths): Promise<{ readonly isNew: boolean }> {
  try {
    return await makeHome(paths)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error) || isLoopatError(error)) throw error
    throw new LoopatError('storage_failed', `the workspace ${paths.home} cannot be prepared: ${error.message}`, {
      next: `Check owner, permissions and space of ${paths.home}, or set LOOPAT_HOME to a directory of yours.`,
      details: { path: paths.home, code: error.code },
      cause: error,
    })
  }
}

async function makeHome(paths: Paths): Promise<{ readonly isNew: boolean }> {
  await mkdir(paths.home, { recursive: true, mode: 0o700 })
  await keepOthersOut(paths.home)
  const isNew = (await mkdir(paths.loops, { recursive: true, mode: 0o700 })) !== undefined
  for (const directory of [paths.mirrors, join(paths.home, 'log')]) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  }
  try {
    await copyFile(join(paths.templates, 'config.toml'), paths.config, constants.COPYFILE_EXCL)
    await chmod(paths.config, 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return { isNew }
}

/**
 * Says what is wrong with a home, if it exists; changes nothing.
 * @throws LoopatError `storage_failed` when it is somebody else's
 */
export async function checkHome(home: string): Promise<void> {
  if (existsSync(home)) await modeOfOwn(home)
}

async function modeOfOwn(home: string): Promise<number> {
  const { mode, uid } = await stat(home)
  const own = process.geteuid?.() ?? uid
  if (uid !== own) throw unfit(home, `it belongs to uid ${uid}, not to uid ${own}`)
  return mode
}

/** A home that its owner has made read-only stays that. */
async function keepOthersOut(home: string): Promise<void> {
  const mode = await modeOfOwn(home)
  if ((mode & 0o077) === 0) return
  await chmod(home, mode & 0o700)
  if (((await stat(home)).mode & 0o077) !== 0) throw unfit(home, 'its file system cannot keep others out')
}

function unfit(home: string, rule: string): LoopatError {
  return new LoopatError('storage_failed', `${home} cannot be the home of a workspace: ${rule}`, {
    next: 'Set LOOPAT_HOME to a directory of yours.',
    details: { path: home },
  })
}
