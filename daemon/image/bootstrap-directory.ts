/** Temporary directories of bootstrapping: where they are, and how they go, also after a crash. */
import { chmod, lstat, mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../lib/clock.ts'
import { type BootstrapTools, runHelper } from './bootstrap-tools.ts'

/** How often the removal is tried, and the pause between two attempts in milliseconds. */
const ATTEMPTS = 5
const PAUSE_MS = 500

const PREFIX = 'loopat-base-'
/** What is put behind the name of the workspace; it has no hyphen, so no workspace takes another's directory for its own. */
const RANDOM = /^[A-Za-z0-9]{6}$/

/** Makes a directory for one call of the tool. */
export async function makeDirectory({ tmpDir }: BootstrapTools, workspace: string): Promise<string> {
  const directory = await mkdtemp(join(tmpDir, `${PREFIX}${workspace}-`))
  // The tool's root is another user than ours, to this directory: it must be open. See TMPDIR in its manual.
  await chmod(directory, 0o1777)
  return directory
}

/** Removes such a directory after a crash: processes of the tool that have just been killed may still write into it. */
export async function removeAbandoned(directory: string, tools: BootstrapTools, clock: Clock): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await removeDirectory(directory, tools)
      return
    } catch (error) {
      if (attempt === ATTEMPTS || !(error instanceof Error && 'code' in error)) throw error
      await clock.sleep(PAUSE_MS)
    }
  }
}

/** Finds the directories of a workspace; those that are there when its daemon starts were left by a crash. */
export async function findDirectories({ tmpDir }: BootstrapTools, workspace: string): Promise<string[]> {
  const prefix = `${PREFIX}${workspace}-`
  const names = (await readdir(tmpDir)).filter(
    (name) => name.startsWith(prefix) && RANDOM.test(name.slice(prefix.length)),
  )
  const found = await Promise.all(names.map(async (name) => await lstat(join(tmpDir, name))))
  return names
    .filter((_, index) => found[index]?.isDirectory() === true && found[index].uid === process.getuid?.())
    .map((name) => join(tmpDir, name))
}

/** Removes a directory whose content may belong to the user's other ids, which only a user namespace may touch. */
export async function removeDirectory(directory: string, tools: BootstrapTools): Promise<void> {
  try {
    await rm(directory, { recursive: true, force: true })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'ENOTEMPTY') throw error
    const left = (await readdir(directory)).map((name) => join(directory, name))
    await runHelper(tools, ['rm', '-rf', '--', ...left])
    await rm(directory, { recursive: true, force: true })
  }
}
