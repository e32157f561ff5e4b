import { chmod, lstat, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Where podman keeps contexts and scratch directories of builds and imports. */
const DIRECTORY = '/var/tmp'

/** How it names them. */
const NAME = /^(?:buildah|libpod_builder|storage)\d+$/

/** Programs that make such directories. */
const MAKERS = new Set(['podman', 'buildah'])

/** Clock ticks per second in /proc; the same on every Linux that Node runs on. */
const TICKS = 100

/**
 * Removes scratch directories whose maker was killed: those of this user that are older than every podman and buildah
 * of this user that runs now. What cannot be removed without the user's namespace stays.
 * @param directory where to look; only tests look elsewhere
 * @returns how many were removed
 */
export async function removeBuildFiles(directory = DIRECTORY): Promise<number> {
  const oldestMs = await oldestMakerMs()
  let removed = 0
  for (const name of await readdir(directory)) {
    if (!NAME.test(name)) continue
    const path = join(directory, name)
    const found = await unless(lstat(path), 'ENOENT')
    if (found === undefined || found.uid !== process.getuid?.() || found.mtimeMs >= oldestMs) continue
    if ((await unless(removeTree(path), 'EACCES', 'EPERM', 'EBUSY', 'ENOTEMPTY')) === true) removed += 1
  }
  return removed
}

/**
 * Start of the oldest podman or buildah of this user that runs, in milliseconds since the epoch; now when there is
 * none.
 */
export async function oldestMakerMs(): Promise<number> {
  const boot = await bootMs()
  let oldest = Date.now()
  for (const pid of await readdir('/proc')) {
    const found = /^\d+$/.test(pid) ? await readStat(pid) : undefined
    if (found === undefined || !MAKERS.has(found.name)) continue
    const owner = await unless(lstat(`/proc/${pid}`), 'ENOENT', 'ESRCH')
    if (owner?.uid !== process.getuid?.() || (await isCleanUp(pid))) continue
    oldest = Math.min(oldest, boot + found.sinceBootMs)
  }
  return oldest
}

/** Parent of a process; undefined when it has ended. */
export async function parentOf(pid: number): Promise<number | undefined> {
  return (await readStat(String(pid)))?.parent
}

/** Reports whether a process is podman or buildah. */
export async function isMaker(pid: number): Promise<boolean> {
  return MAKERS.has((await readStat(String(pid)))?.name ?? '')
}

interface Stat {
  readonly name: string
  readonly parent: number
  readonly sinceBootMs: number
}

/** Undefined for a process that has ended. */
async function readStat(pid: string): Promise<Stat | undefined> {
  const stat = await unless(readFile(`/proc/${pid}/stat`, 'utf8'), 'ENOENT', 'ESRCH')
  if (stat === undefined) return undefined
  const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z'
    ? undefined
    : { name, parent: Number(fields[1]), sinceBootMs: (Number(fields[19]) / TICKS) * 1000 }
}

/** Podman runs itself after each command and container, to tidy up: that makes nothing. */
async function isCleanUp(pid: string): Promise<boolean> {
  const commandLine = await unless(readFile(`/proc/${pid}/cmdline`, 'utf8'), 'ENOENT', 'ESRCH')
  return commandLine === undefined || commandLine.includes('\0container\0cleanup\0')
}

/** The boot time has whole seconds only. The time since then is finer, but where it is made up it need not match. */
async function bootMs(): Promise<number> {
  const seconds = Number(/^btime (\d+)$/m.exec(await readFile('/proc/stat', 'utf8'))?.[1]) * 1000
  const fine = Date.now() - Number.parseFloat(await readFile('/proc/uptime', 'utf8')) * 1000
  return Math.min(Math.max(fine, seconds), seconds + 1000)
}

/** Podman leaves directories that not even their owner may enter. */
async function removeTree(path: string): Promise<true> {
  await openUp(path)
  await rm(path, { recursive: true, force: true })
  return true
}

async function openUp(path: string): Promise<void> {
  await chmod(path, 0o700)
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await openUp(join(path, entry.name))
  }
}

async function unless<T>(doing: Promise<T>, ...codes: string[]): Promise<T | undefined> {
  try {
    return await doing
  } catch (error) {
    if (error instanceof Error && 'code' in error && codes.includes(String(error.code))) return undefined
    throw error
  }
}
