import { chmod, mkdir, readdir, readFile, readlink, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/error-code.ts'
import { isHostName } from './host-name.ts'

/** The forwarder in a control directory. */
export const FORWARDER = 'loopat-host'
/** Directory of links to it, which is in the PATH of loops. */
export const LINKS = 'bin'

const TARGET = `../${FORWARDER}`
const MODE = 0o755

/**
 * Puts the forwarder into the control directory of a loop, and links to it that have the names of commands: these, and
 * no others. What is right already is left alone. The loop sees the directory read-only, so nobody else writes there;
 * calls for one directory must not overlap.
 * @param forwarder the program on the host
 * @returns names that no link can have, or must not, sorted
 * @throws the file system's error
 */
export async function placeControlFiles(
  control: string,
  { forwarder, names }: { readonly forwarder: string; readonly names: Iterable<string> },
): Promise<string[]> {
  await placeForwarder(join(control, FORWARDER), await readFile(forwarder))
  const wanted = new Set(names)
  const unfit = [...wanted].filter((name) => name === FORWARDER || !isHostName(name)).sort()
  for (const name of unfit) wanted.delete(name)
  await placeLinks(join(control, LINKS), wanted)
  return unfit
}

async function placeForwarder(path: string, content: Buffer): Promise<void> {
  if (!(await unlessMissing(readFile(path)))?.equals(content)) await replaceFile(path, content, MODE)
  // The umask may have taken something away.
  if (((await stat(path)).mode & 0o777) !== MODE) await chmod(path, MODE)
}

async function placeLinks(directory: string, wanted: ReadonlySet<string>): Promise<void> {
  await mkdir(directory, { recursive: true, mode: MODE })
  const found = new Set(await readdir(directory))
  for (const name of found) {
    if (wanted.has(name) && (await isRight(join(directory, name)))) continue
    await rm(join(directory, name), { recursive: true, force: true })
    found.delete(name)
  }
  for (const name of wanted) if (!found.has(name)) await symlink(TARGET, join(directory, name))
}

async function isRight(path: string): Promise<boolean> {
  try {
    return (await readlink(path)) === TARGET
  } catch (error) {
    if (errorCode(error) === 'EINVAL') return false
    throw error
  }
}

async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
