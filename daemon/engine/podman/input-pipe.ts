import * as fs from 'node:fs'
import { constants } from 'node:fs'
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { promisify } from 'node:util'

const openFile = promisify(fs.open)
const fstat = promisify(fs.fstat)
const closeFile = promisify(fs.close)

/** The process that podman puts between itself and a command. */
const MONITOR = 'conmon'

/**
 * Opens the pipe that is the standard input of a command, past podman.
 *
 * Input that podman has passed on and the command has not read when it ends makes podman lose the end of the output
 * (its monitor closes a socket with unread data, and the kernel then refuses what is still to be read from it). What
 * goes straight into the pipe does not do that.
 * @param pid host pid of the command
 * @returns undefined when it cannot be had: the command has ended, reads from elsewhere, or is not ours to look at
 */
export async function openInputPipe(pid: number): Promise<Writable | undefined> {
  const pipe = await unlessGone(readlink(`/proc/${pid}/fd/0`))
  const monitor = await parentOf(pid)
  if (pipe?.startsWith('pipe:') !== true || monitor === undefined) return undefined
  const wanted = await findPipe(monitor, pipe)
  if (wanted === undefined) return undefined
  const { O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants
  const fd = await unlessGone(openFile(`/proc/${pid}/fd/0`, O_WRONLY | O_NONBLOCK | O_NOCTTY))
  if (fd === undefined) return undefined
  // The command may have put something else there meanwhile, something that only the host may write to.
  const opened = await fstat(fd)
  if (opened.isFIFO() && opened.ino === wanted.ino && opened.dev === wanted.dev) {
    return new Socket({ fd, readable: false, writable: true })
  }
  await closeFile(fd)
  return undefined
}

/** The monitor that started a command; undefined when its parent is something else. */
async function parentOf(pid: number): Promise<string | undefined> {
  const text = await unlessGone(readFile(`/proc/${pid}/stat`, 'utf8'))
  const parent = text?.slice(text.lastIndexOf(')') + 2).split(' ')[1]
  if (parent === undefined) return undefined
  const name = await unlessGone(readFile(`/proc/${parent}/comm`, 'utf8'))
  return name?.trim() === MONITOR ? parent : undefined
}

/** Identity of the pipe, if the monitor holds it, too. */
async function findPipe(monitor: string, pipe: string): Promise<fs.Stats | undefined> {
  const directory = `/proc/${monitor}/fd`
  for (const name of (await unlessGone(readdir(directory))) ?? []) {
    if ((await unlessGone(readlink(`${directory}/${name}`))) === pipe)
      return await unlessGone(stat(`${directory}/${name}`))
  }
  return undefined
}

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    const gone = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENXIO']
    if (error instanceof Error && 'code' in error && gone.includes(String(error.code))) return undefined
    throw error
  }
}
