import { lstat, readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../lib/error-code.ts'

/** The vaults of a home: the one thing below `personal/` that is loopat's. */
export interface VaultFiles {
  /** `personal/<user>/.loopat/vaults`, of every user. */
  readonly directories: readonly string[]
  readonly vaults: number
  /** Everything else below `personal/`. */
  readonly foreign: readonly string[]
}

/** Looks at `personal/` of a home. Links are not followed: they are somebody else's, whatever they lead to. */
export async function lookAtVaults(home: string): Promise<VaultFiles> {
  const personal = join(home, 'personal')
  const foreign: string[] = []
  const directories: string[] = []
  for (const user of await entriesOf(personal, foreign)) {
    for (const entry of await entriesOf(join(personal, user), foreign)) {
      const path = join(personal, user, entry)
      const below = entry === '.loopat' ? await entriesOf(path, foreign) : []
      if (entry !== '.loopat') foreign.push(path)
      foreign.push(...below.filter((name) => name !== 'vaults').map((name) => join(path, name)))
      if (below.includes('vaults')) directories.push(join(path, 'vaults'))
    }
  }
  const counts = await Promise.all(directories.map(async (path) => (await entriesOf(path, foreign)).length))
  return { directories, vaults: counts.reduce((sum, count) => sum + count, 0), foreign: foreign.sort() }
}

/** Removes vaults, and the directories above them that hold nothing else. */
export async function removeVaults(home: string, removeTree: (path: string) => Promise<void>): Promise<void> {
  for (const directory of (await lookAtVaults(home)).directories) await removeTree(directory)
  const personal = join(home, 'personal')
  for (const user of await entriesOf(personal, [])) {
    await removeEmpty(join(personal, user, '.loopat'))
    await removeEmpty(join(personal, user))
  }
  await removeEmpty(personal)
}

/** Names in a real directory; anything else is foreign, but for what is missing. */
async function entriesOf(path: string, foreign: string[]): Promise<string[]> {
  try {
    if ((await lstat(path)).isDirectory()) return await readdir(path)
    foreign.push(path)
    return []
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path)
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR', 'ENOTEMPTY'].includes(errorCode(error) ?? '')) throw error
  }
}
