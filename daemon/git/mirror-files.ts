import { appendFile, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { TEMPORARY_SUFFIX, writeFileAtomic } from '../lib/atomic-file.ts'

/**
 * What git and this room leave behind when they are killed: locks (no ref can end like one), files that never got their
 * names, and marks of packs that were just fetched.
 */
const LEFTOVERS = {
  '.': /\.lock$|^packed-refs\.new$/,
  objects: /\.lock$|^tmp_|\.keep$/,
  refs: /\.lock$/,
}
/** Directories that this room makes beside the mirrors while it works. */
const TEMPORARY = /^\.(new|kept)-[0-9a-f]+$/

/** Quotes a value for a configuration file of git. */
export function configValue(value: string): string {
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}

/**
 * Completes the configuration of a new mirror: nothing in it is ever thrown away, not even by a person's `git gc`, since
 * clones borrow from it.
 */
export async function configureMirror(gitDir: string, url: string): Promise<void> {
  const text = [
    '[core]',
    '\trepositoryformatversion = 1',
    '[extensions]',
    '\tpreciousObjects = true',
    '[gc]',
    '\tauto = 0',
    '[maintenance]',
    '\tauto = false',
    '[remote "origin"]',
    `\turl = ${configValue(url)}`,
    '\tfetch = +refs/heads/*:refs/remotes/origin/*',
  ]
  await appendFile(join(gitDir, 'config'), `${text.join('\n')}\n`)
}

/** The ref that a mirror's HEAD names. */
export async function readHead(gitDir: string): Promise<string | undefined> {
  return /^ref: (refs\/.+)\n?$/.exec(await readFile(join(gitDir, 'HEAD'), 'utf8'))?.[1]
}

/** Makes a mirror's HEAD name a ref. The caller is the only writer of this mirror. */
export async function writeHead(gitDir: string, ref: string): Promise<void> {
  await writeFileAtomic(join(gitDir, 'HEAD'), `ref: ${ref}\n`)
}

/** Removes what a git that was killed left in a mirror. The caller is the only writer of this mirror. */
export async function removeLeftovers(gitDir: string): Promise<string[]> {
  const removed: string[] = []
  for (const [place, leftover] of Object.entries(LEFTOVERS)) {
    const recursive = place !== '.'
    for (const entry of await readdir(join(gitDir, place), { withFileTypes: true, recursive })) {
      const isLeftover = leftover.test(entry.name) || entry.name.endsWith(TEMPORARY_SUFFIX)
      if (!isLeftover || entry.isDirectory()) continue
      const path = join(entry.parentPath, entry.name)
      await rm(path, { force: true })
      removed.push(path)
    }
  }
  return removed
}

/**
 * Tidies the directory of the mirrors after a crash.
 * @returns what was removed
 */
export async function sweepMirrors(mirrors: string): Promise<string[]> {
  const removed: string[] = []
  for (const entry of await readdir(mirrors, { withFileTypes: true })) {
    const path = join(mirrors, entry.name)
    if (TEMPORARY.test(entry.name)) {
      await rm(path, { recursive: true, force: true })
      removed.push(path)
    } else if (entry.isDirectory() && entry.name.endsWith('.git')) {
      removed.push(...(await removeLeftovers(path)))
    }
  }
  return removed
}
