import { lstatSync } from 'node:fs'
import { lstat, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { errorCode } from '../lib/error-code.ts'

/** Where the directories of users are in a home. */
const PERSONAL = 'personal'

/**
 * What can be reached from one vault: the vault itself, and what else its user keeps beside it. All paths are real:
 * there is no link in them.
 */
export interface Fence {
  /** `personal/<user>` */
  readonly root: string
  /** `personal/<user>/.loopat/vaults` */
  readonly vaults: string
  /** The vault. */
  readonly vault: string
  /** One file per variable. */
  readonly envs: string
  /** What appears in the home of a loop. */
  readonly homeMounts: string
}

/** Something in a vault that is not delivered. */
export interface Complaint {
  /** Path in the vault, such as `envs/TOKEN`. */
  readonly entry: string
  /** Where it really leads, when that is known and somewhere else. */
  readonly target: string | null
  /** Why, as the end of a sentence that begins with the entry. */
  readonly why: string
}

/**
 * Computes the places of a vault.
 * @param home the real path of the workspace's home
 * @param user checked user id
 * @param vault checked vault name
 */
export function fenceOf(home: string, user: string, vault: string): Fence {
  const root = join(home, PERSONAL, user)
  const vaults = join(root, '.loopat', 'vaults')
  const directory = join(vaults, vault)
  return {
    root,
    vaults,
    vault: directory,
    envs: join(directory, 'envs'),
    homeMounts: join(directory, 'mounts', 'home'),
  }
}

/**
 * Finds a vault on disk.
 * @returns undefined when there is none of this name
 * @throws `vault_invalid` when it is no real directory: a link as a vault could lead to the vault of somebody else
 */
export async function findVault(home: string, user: string, vault: string): Promise<Fence | undefined> {
  try {
    // Most loops have the vault that need not exist, and every command asks for it: no thread is troubled with that.
    if (lstatSync(fenceOf(home, user, vault).vault, { throwIfNoEntry: false }) === undefined) return undefined
    const fence = fenceOf(await realpath(home), user, vault)
    const real = await realpath(fence.vault)
    if (real === fence.vault && (await lstat(real)).isDirectory()) return fence
    throw notReal(vault, fence.vault)
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP' || code === 'ENOTDIR') throw notReal(vault, fenceOf(home, user, vault).vault, error)
    throw error
  }
}

/**
 * Says why a path must not be delivered from a vault (rules V-4, V-5, V-10): other vaults, the user's settings and git's
 * keys are out of reach, and so is everything of anybody else.
 * @param path a real path
 * @returns the end of a sentence, undefined when the path may be delivered
 */
export function refusalOf({ root, vault, envs, homeMounts }: Fence, path: string): string | undefined {
  if (!isBelow(path, root)) return 'leads out of the directory of its user'
  if (isAt(path, join(root, '.git'))) return 'leads to the internals of git'
  if (isAt(path, join(root, '.loopat')) && !isBelow(path, vault))
    return 'leads out of its vault to others or to settings'
  if ([envs, homeMounts].some((place) => isAt(place, path))) return 'leads to the vault itself'
  return undefined
}

/** Reports whether a path is strictly inside a directory. Both are real. */
export function isBelow(path: string, directory: string): boolean {
  return path.startsWith(`${directory}/`)
}

function isAt(path: string, directory: string): boolean {
  return path === directory || isBelow(path, directory)
}

function notReal(vault: string, path: string, cause?: unknown): LoopatError {
  return new LoopatError('vault_invalid', `vault "${vault}" is no real directory: there is a link in ${path}`, {
    next: 'Put a directory in place of the link.',
    details: { vault, path },
    cause,
  })
}

/** Bytewise order of names, which is no locale's. */
export function compareNames(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
