import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lookAtVaults, removeVaults } from './vault-files.ts'

/** Deletes a tree, also what belongs to sub-uids of the user; a missing one is a success. */
export type RemoveTree = (path: string) => Promise<void>

/** Says that a home is a workspace: the daemon makes it first, so it goes last. */
const MARK = '.lock'
/** What the daemon makes in a home. Everything else there is somebody else's. */
const OURS = ['config.toml', 'host.json', 'known_hosts', 'log', 'loops', 'mirrors']
/** Where vaults are, beside what users keep there. */
const PERSONAL = 'personal'

/** What is in a home. */
export interface HomeContent {
  /** Whether a daemon ever served it; if not, nothing in it is ours, whatever its name, and nothing is told. */
  readonly isWorkspace: boolean
  /** Paths of what is not ours. */
  readonly foreign: readonly string[]
  readonly loops: number
  readonly mirrors: number
  readonly vaults: number
}

/** Looks at a home; a missing one is empty. */
export async function lookAtHome(home: string): Promise<HomeContent> {
  const names = await namesIn(home)
  if (!names.includes(MARK)) return { isWorkspace: false, foreign: [], loops: 0, mirrors: 0, vaults: 0 }
  const foreign = names.filter((name) => ![MARK, PERSONAL, ...OURS].includes(name)).sort()
  const personal = await lookAtVaults(home)
  return {
    isWorkspace: true,
    foreign: [...foreign.map((name) => join(home, name)), ...personal.foreign],
    vaults: personal.vaults,
    loops: (await namesIn(join(home, 'loops'))).filter((name) => !name.startsWith('.')).length,
    mirrors: (await namesIn(join(home, 'mirrors'))).filter((name) => name.endsWith('.git')).length,
  }
}

/**
 * Removes a workspace from its home, and the home when nothing else is in it.
 * @throws Error when something is left; what was removed by then stays removed, and a second call goes on
 */
export async function removeHome(home: string, removeTree: RemoveTree): Promise<void> {
  const { isWorkspace, foreign } = await lookAtHome(home)
  if (!isWorkspace) return
  for (const name of OURS) await removeTree(join(home, name))
  await removeVaults(home, removeTree)
  if (foreign.length > 0) throw new Error(`it holds what is not loopat's: ${foreign.join(', ')}`)
  await rm(join(home, MARK), { force: true })
  await rmdir(home)
}

/** Names in a directory; none when it is missing. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}
