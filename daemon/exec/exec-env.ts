import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { errorCode } from '../lib/error-code.ts'

/** Where the control directory of a loop is mounted, read-only. */
export const CONTROL_INSIDE = '/loopat/control'
/** Directory in it for what this file writes. */
const DIRECTORY = 'env'
/** Ending of the pipe by which a command says that it has read its variables. */
const READ = '.read'

/**
 * Reads the variables, says so, and becomes the command: pid, process group and argv[0] are the command's own. Nothing
 * but what is built into a shell is used; a pipe that is opened both ways never waits for its other end.
 */
const SCRIPT = `. "$1" || exit 125; { echo 1<>"$1${READ}"; } 2>/dev/null; shift; exec "$@"`

/** A command that gets secrets. */
export interface Delivery extends AsyncDisposable {
  /** What is to be run in place of the command. */
  readonly command: readonly string[]
  /** What the shell puts before its own words, when it cannot become the command. */
  readonly marker: string
}

/** What is delivered, and where. */
export interface DeliveryRequest {
  readonly command: readonly string[]
  /** Names are checked; values have no NUL. */
  readonly secrets: Readonly<Record<string, string>>
  /** Control directory of the loop on the host. */
  readonly control: string
}

/**
 * Prepares a command that gets secrets in its environment. They go neither into an argument nor into what the engine is
 * told, since it keeps that: a shell inside reads them from a file that is there until it has been read. Users of the
 * loop other than its own must be able to read it; users of the host are kept out by the directory of the runtime.
 * @returns to be disposed of when the command has ended, or was never started
 * @throws the file system's error
 */
export async function deliverSecrets({ command, secrets, control }: DeliveryRequest): Promise<Delivery> {
  const name = randomBytes(16).toString('hex')
  const file = join(control, DIRECTORY, name)
  await makeDirectories(control)
  const pipe = await makePipe(`${file}${READ}`)
  const read = new Promise<void>((resolve) => pipe.once('close', () => resolve()))
  const removed = read.then(() => rm(file, { force: true }))
  // Whoever disposes of the delivery is told.
  removed.catch(() => undefined)
  const dispose = async () => {
    pipe.destroy()
    await rm(`${file}${READ}`, { force: true })
    await removed
  }
  try {
    await writeFile(file, scriptOf(secrets), { flag: 'wx', mode: 0o644 })
  } catch (error) {
    await dispose()
    throw error
  }
  pipe.once('data', () => pipe.destroy())
  pipe.on('error', () => pipe.destroy())
  // Random, too: no output of a command begins with it.
  const shell = `loopat-${randomBytes(16).toString('hex')}`
  return {
    command: ['/bin/sh', '-c', SCRIPT, shell, `${CONTROL_INSIDE}/${DIRECTORY}/${name}`, ...command],
    marker: `${shell}: `,
    [Symbol.asyncDispose]: dispose,
  }
}

/**
 * Removes what a daemon that was killed left behind.
 * @param control directory of all control directories
 */
export async function sweepSecrets(control: string): Promise<void> {
  for (const loop of await namesIn(control)) await rm(join(control, loop, DIRECTORY), { recursive: true, force: true })
}

/** Shell words that set variables. Some shells keep a few names to themselves; those are left as they are. */
function scriptOf(secrets: Readonly<Record<string, string>>): string {
  const lines = Object.entries(secrets).map(([name, value]) => `command export ${name}=${quote(value)} 2>/dev/null\n`)
  return `${lines.join('')}:\n`
}

function quote(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`
}

/** The way to the files is open to all users of the loop, but for its names. */
async function makeDirectories(control: string): Promise<void> {
  const directory = join(control, DIRECTORY)
  await mkdir(directory, { recursive: true })
  await chmod(control, 0o711)
  await chmod(directory, 0o711)
}

/** Makes a pipe with a name and opens its reading end, which does not wait for somebody to write. */
async function makePipe(path: string): Promise<Socket> {
  await promisify(execFile)('mkfifo', ['-m', '666', path])
  const fd = await promisify(fs.open)(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  return new Socket({ fd, readable: true, writable: false })
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}
