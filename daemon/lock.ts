import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { LoopatError, type Workspace } from '@loopatd/protocol'
import { z } from 'zod'
import type { Lifetime } from './lib/lifetime.ts'

/** A lock that is held until it is released or the process ends, however it ends. */
export interface Lock {
  release(): Promise<void>
}

const HELD = 1
/** Longest record of a holder that is read, in bytes. */
const MAX_RECORD_BYTES = 4096

/** Who holds a lock; written into its file for those who don't get it. */
const Holder = z.object({ pid: z.int().positive(), socket: z.string().startsWith('/') })

type Holder = z.infer<typeof Holder>

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error
}

/** What cannot be written can be locked all the same, if it is there. */
async function openLock(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  } catch (error) {
    if (!isSystemError(error) || error.code !== 'EROFS') throw error
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  }
}

/** @throws LoopatError `storage_failed` */
async function openOwnLock(path: string): Promise<FileHandle> {
  try {
    return await openLock(path)
  } catch (error) {
    if (!isSystemError(error)) throw error
    const what = error.code === 'ELOOP' ? 'it is a symbolic link' : error.message
    throw new LoopatError('storage_failed', `${path} cannot be locked: ${what}`, {
      next: `Look at it with \`ls -ld ${path}\`; remove it if no daemon runs.`,
      details: { path, code: error.code },
      cause: error,
    })
  }
}

function flock(fd: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const helper = spawn('flock', ['--exclusive', '--nonblock', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
    helper.once('error', reject)
    helper.once('close', (code) => resolve(code))
  })
}

/**
 * Takes an exclusive lock on a file. The helper locks the open file description that it shares with this process,
 * so the lock stays when the helper is gone and vanishes with this process; nothing stale can remain.
 * @param path created with mode 0600; never a symbolic link; never deleted, since a deleted lock protects nothing
 * @param socket where the holder listens, written into the file for those who don't get the lock
 * @returns undefined when somebody else holds it
 * @throws LoopatError `storage_failed` when the file cannot be opened, `internal` when util-linux's flock is missing
 */
export async function tryLock(path: string, socket: string): Promise<Lock | undefined> {
  const file = await openOwnLock(path)
  try {
    const code = await flock(file.fd)
    if (code === 0) {
      await record(file, { pid: process.pid, socket })
      return { release: () => file.close() }
    }
    if (code !== HELD) throw new LoopatError('internal', `flock on ${path} ended with ${code}`)
  } catch (error) {
    await file.close()
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new LoopatError('internal', 'the program flock is missing', { next: 'Install util-linux.', cause: error })
  }
  await file.close()
  return undefined
}

/** Writes down who holds a lock. It is held without that, too: on a full disk or one that cannot be written. */
async function record(file: FileHandle, holder: Holder): Promise<void> {
  try {
    await file.truncate()
    await file.write(`${JSON.stringify(holder)}\n`, 0)
  } catch (error) {
    // Opened for reading only, it is a bad descriptor or an invalid one.
    if (!isSystemError(error) || !['EBADF', 'EDQUOT', 'EINVAL', 'ENOSPC'].includes(error.code ?? '')) throw error
  }
}

/** Who wrote itself into a lock and still has it; undefined when that cannot be told. */
async function holderOf(path: string): Promise<Holder | undefined> {
  const text = (await readFile(path, 'utf8')).slice(0, MAX_RECORD_BYTES)
  try {
    const holder = Holder.safeParse(JSON.parse(text)).data
    return holder !== undefined && (await hasOpen(holder.pid, await realpath(path))) ? holder : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Whether a process of this user has a file open. A record may be older than the lock: then its number is another's. */
async function hasOpen(pid: number, path: string): Promise<boolean> {
  try {
    const descriptors = (await readdir(`/proc/${pid}/fd`)).map((name) => readlink(`/proc/${pid}/fd/${name}`))
    return (await Promise.allSettled(descriptors)).some((link) => link.status === 'fulfilled' && link.value === path)
  } catch (error) {
    if (isSystemError(error)) return false
    throw error
  }
}

/**
 * Takes the locks that make a workspace this process's alone, until the lifetime ends.
 * @param locks paths of the lock files
 * @throws LoopatError `already_running` when another process has one of them; it says which, and where that listens
 */
export async function takeLocks(
  locks: readonly string[],
  workspace: Pick<Workspace, 'home' | 'name' | 'socket'>,
  lifetime: Lifetime,
): Promise<void> {
  for (const path of locks) {
    const lock = await tryLock(path, workspace.socket)
    if (lock === undefined) throw alreadyRunning(path, workspace, await holderOf(path))
    lifetime.add(() => lock.release())
  }
}

function alreadyRunning(
  path: string,
  { name, home, socket }: Pick<Workspace, 'home' | 'name' | 'socket'>,
  holder: Holder | undefined,
): LoopatError {
  const who = holder === undefined ? '' : `: pid ${holder.pid}, on ${holder.socket}`
  const isElsewhere = holder !== undefined && holder.socket !== socket
  return new LoopatError('already_running', `another daemon serves the workspace ${name} (${home})${who}`, {
    next: isElsewhere
      ? `Use it with the XDG_RUNTIME_DIR that leads to its socket, or stop it first: kill ${holder.pid}`
      : 'Use it, or stop it first: loopctl daemon stop',
    details: { lock: path, ...holder },
  })
}
