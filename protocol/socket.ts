/**
 * Where a workspace lives and where its daemon listens: the one rule that daemon and clients share. Loads no library.
 */
import { createHash } from 'node:crypto'
import { lstatSync, realpathSync, statfsSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { LoopatError } from './error.ts'

/** Longest path that fits into `sun_path`, in bytes; Node silently listens on a truncated name beyond it. */
export const MAX_SOCKET_PATH_BYTES = 107

/** A workspace and its places. */
export interface Workspace {
  /** Unique name of the workspace (W-2, W-3): part of container, image and network names. */
  readonly name: string
  /** Canonical path of `LOOPAT_HOME`. */
  readonly home: string
  /** Directory of sockets and locks; 0700, owned by the user, gone after a reboot. */
  readonly runtimeDir: string
  /** Path of the daemon's socket. */
  readonly socket: string
}

/** What the rule depends on; injected so that tests need no environment. */
export interface WorkspaceEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly uid: number
  readonly homedir: string
  readonly tmpdir: string
}

/** Canonical form of a path of which the last parts may not exist yet. */
function canonical(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const parent = dirname(path)
    return parent === path ? path : join(canonical(parent), basename(path))
  }
}

/** File systems of the kernel's own, by their type in statfs(2): nobody can make a directory in them, or not to keep. */
const KERNEL_FILE_SYSTEMS: Readonly<Record<number, string>> = {
  7377: 'devpts',
  40864: 'proc',
  2613483: 'cgroup',
  1650812272: 'configfs',
  1650812274: 'sysfs',
  1667723888: 'cgroup2',
  1684170528: 'debugfs',
  1935894131: 'securityfs',
  1953653091: 'tracefs',
}

/** Type of the file system that a path is on, or would be. */
function fileSystemType(path: string): number {
  try {
    return statfsSync(path).type
  } catch (error) {
    const parent = dirname(path)
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === path) throw error
    return fileSystemType(parent)
  }
}

/** The usual home does not matter to somebody who named another one. */
function canonicalIfReachable(path: string): string {
  try {
    return canonical(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error) return path
    throw error
  }
}

function refuseHome(path: string, rule: string, cause?: unknown): LoopatError {
  return new LoopatError('config_invalid', `${JSON.stringify(path)} cannot be the home of a workspace: ${rule}`, {
    next: 'Set LOOPAT_HOME to a directory of yours.',
    ...(cause === undefined ? {} : { cause }),
  })
}

/**
 * @throws LoopatError `config_invalid` when the path leads nowhere or to where no files can be kept, or podman could
 * mount nothing that lies below it
 */
function homeAt(path: string): string {
  const { home, fileSystem } = lookAt(path)
  if (fileSystem !== undefined) throw refuseHome(path, `the file system there (${fileSystem}) keeps no files`)
  if (!/[:,\p{Cc}]/u.test(home)) return home
  throw refuseHome(path, 'podman can mount no path with a colon, a comma or a control character')
}

function lookAt(path: string): { readonly home: string; readonly fileSystem: string | undefined } {
  try {
    const home = canonical(path)
    return { home, fileSystem: KERNEL_FILE_SYSTEMS[fileSystemType(home)] }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    throw refuseHome(path, `it cannot be reached (${error.code})`, error)
  }
}

/**
 * Name of the workspace of a home directory: its base name without leading dots, in podman's alphabet; every home but
 * the default gets six hex digits of its path, since two homes may share a base name.
 * @param home canonical path
 * @param defaultHome canonical path of `~/.loopat`
 */
export function workspaceName(home: string, defaultHome: string): string {
  const base = basename(home).replace(/^\.+/, '')
  const normal = base
    .toLowerCase()
    .replace(/[^a-z0-9_.-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .replace(/[^a-z0-9]+$/, '')
    .slice(0, 40)
  const name = normal === '' ? 'loopat' : normal
  if (home === defaultHome) return name
  return `${name}-${createHash('sha256').update(home).digest('hex').slice(0, 6)}`
}

/** Whether a path is a real directory of the user's with none of these permission bits. */
function isOwnDirectory(path: string, uid: number, forbidden: number): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  return stat?.isDirectory() === true && stat.uid === uid && (stat.mode & forbidden) === 0
}

/**
 * `$XDG_RUNTIME_DIR`, else the directory that systemd would name, else one of our own under the temporary directory.
 * @throws LoopatError `config_invalid` when that last one is somebody else's: anybody could listen there in our place
 */
function runtimeBase({ env, uid, tmpdir: tmp }: WorkspaceEnvironment): string {
  const named = env.XDG_RUNTIME_DIR
  if (named?.startsWith('/')) return join(named, 'loopat')
  const usual = `/run/user/${uid}`
  if (isOwnDirectory(usual, uid, 0o077)) return join(usual, 'loopat')
  const last = join(tmp, `loopat-${uid}`)
  const isThere = lstatSync(last, { throwIfNoEntry: false }) !== undefined
  if (!isThere || isOwnDirectory(last, uid, 0o022)) return last
  throw new LoopatError('config_invalid', `${last} is not a directory of yours alone, so no socket in it is trusted`, {
    next: 'Set XDG_RUNTIME_DIR to a private directory.',
    details: { path: last },
  })
}

/**
 * Finds the workspace of the environment. Creates nothing.
 * @throws LoopatError `config_invalid` when `LOOPAT_HOME` is not absolute or of no use, the socket path would be too
 * long, or its directory is somebody else's
 */
export function findWorkspace(from: WorkspaceEnvironment = processEnvironment()): Workspace {
  const wanted = from.env.LOOPAT_HOME
  if (wanted !== undefined && wanted !== '' && !wanted.startsWith('/')) {
    throw new LoopatError('config_invalid', `LOOPAT_HOME is "${wanted}"; it must be an absolute path`, {
      next: 'Set LOOPAT_HOME to an absolute path, or unset it to use ~/.loopat.',
    })
  }
  const usual = join(from.homedir, '.loopat')
  const home = homeAt(wanted ? resolve(wanted) : usual)
  const name = workspaceName(home, wanted ? canonicalIfReachable(usual) : home)
  const runtimeDir = join(runtimeBase(from), name)
  const socket = join(runtimeDir, 'loopatd.sock')
  const bytes = Buffer.byteLength(socket)
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new LoopatError(
      'config_invalid',
      `the socket path ${socket} has ${bytes} bytes; unix sockets allow ${MAX_SOCKET_PATH_BYTES}`,
      { next: 'Set XDG_RUNTIME_DIR to a shorter path, or LOOPAT_HOME to one whose last part is shorter.' },
    )
  }
  return { name, home, runtimeDir, socket }
}

function processEnvironment(): WorkspaceEnvironment {
  return { env: process.env, uid: process.getuid?.() ?? 0, homedir: homedir(), tmpdir: tmpdir() }
}
