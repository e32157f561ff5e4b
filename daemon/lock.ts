import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { LoopatError, type Workspace } from '@loopatd/protocol'
import type { Lifetime } from './lib/lifetime.ts'

/** A lock that is held until it is released or the process ends, however it ends. */
export interface Lock {
  release(): Promise<void>
}

const HELD = 1

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
 * @returns undefined when somebody else holds it
 * @throws LoopatError `internal` when util-linux's flock is missing
 */
export async function tryLock(path: string): Promise<Lock | undefined> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    const code = await flock(file.fd)
    if (code === 0) return { release: () => file.close() }
    if (code !== HELD) throw new LoopatError('internal', `flock on ${path} ended with ${code}`)
  } catch (error) {
    await file.close()
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new LoopatError('internal', 'the program flock is missing', { next: 'Install util-linux.', cause: error })
  }
  await file.close()
  return undefined
}

/**
 * Takes the locks that make a workspace this process's alone, until the lifetime ends.
 * @param locks paths of the lock files
 * @throws LoopatError `already_running` when another process has one of them
 */
export async function takeLocks(
  locks: readonly string[],
  { name, home }: Pick<Workspace, 'home' | 'name'>,
  lifetime: Lifetime,
): Promise<void> {
  for (const path of locks) {
    const lock = await tryLock(path)
    if (lock === undefined) {
      throw new LoopatError('already_running', `another daemon serves the workspace ${name} (${home})`, {
        next: 'Use it, or stop it first: loopctl daemon stop',
        details: { lock: path },
      })
    }
    lifetime.add(() => lock.release())
  }
}
