import { execFile } from 'node:child_process'
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { promisify } from 'node:util'
import { errorCode } from './error-code.ts'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants

/** How a pipe is opened. `hold` is both ways: it works with nobody at the other end, and keeps the pipe's content. */
export type FifoEnd = 'read' | 'write' | 'hold'

const FLAGS: Readonly<Record<FifoEnd, number>> = { read: O_RDONLY, write: O_WRONLY, hold: O_RDWR }

/** Makes pipes with names, for this user only. @throws an error with a code, such as that one is there already */
export async function makeFifos(paths: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)('mkfifo', ['-m', '600', ...paths])
  } catch (cause) {
    if (!(cause instanceof Error && 'stderr' in cause)) throw cause
    // What it was told fills pages; what it says of it is what counts.
    throw Object.assign(new Error(`mkfifo: ${String(cause.stderr).trim()}`), { code: 'EIO', syscall: 'mkfifo' })
  }
}

/**
 * Opens a pipe with a name. It does not wait, so it need not be asynchronous, and takes a few microseconds.
 * @returns the descriptor; undefined when there is no such pipe, or nobody reads what is to be written
 */
export function openFifo(path: string, end: FifoEnd): number | undefined {
  try {
    const fd = openSync(path, FLAGS[end] | O_NONBLOCK | O_NOFOLLOW)
    if (fstatSync(fd).isFIFO()) return fd
    closeSync(fd)
    return undefined
  } catch (error) {
    if (['ENXIO', 'ENOENT', 'ENOTDIR', 'ELOOP'].includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}
