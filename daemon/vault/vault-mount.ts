import { join } from 'node:path'
import type { VaultMount } from '../loop/loop-options.ts'
import { type Complaint, compareNames, type Fence, isBelow } from './fence.ts'
import { isRefusal, listInside, locate } from './safe-read.ts'

/** What podman cannot mount, or what would break a line of anything. */
const UNMOUNTABLE = /[:,]|\p{Cc}/u
/** Editors keep locks under such names (rule V-3). */
const EDITOR_LOCK = '.#'

/** What a vault puts into the home of a loop. */
export interface VaultMounts {
  /** Sorted by name. */
  readonly mounts: readonly VaultMount[]
  readonly complaints: readonly Complaint[]
}

/** Lists the top-level entries of `mounts/home` (rule V-3), each with the real path that is to be mounted. */
export async function readVaultMounts(fence: Fence): Promise<VaultMounts> {
  const { names, complaints } = await listInside(fence, fence.homeMounts, 'mounts/home')
  const found: VaultMount[] = []
  for (const name of names.filter((entry) => !entry.startsWith(EDITOR_LOCK)).sort(compareNames)) {
    const mount = await readMount(fence, name)
    if ('why' in mount) complaints.push(mount)
    else found.push(mount)
  }
  const writable = found.filter(({ kind }) => kind === 'directory')
  // What lies in a directory that a loop may write can be replaced by a link to anything, at the moment of mounting too.
  const mounts = found.filter(({ source }) => !writable.some((other) => isBelow(source, other.source)))
  const shaky = found.filter((mount) => !mounts.includes(mount))
  const why = 'leads into another entry, which loops may write'
  return {
    mounts,
    complaints: [...complaints, ...shaky.map(({ name, source }) => ({ entry: entryOf(name), target: source, why }))],
  }
}

async function readMount(fence: Fence, name: string): Promise<VaultMount | Complaint> {
  const entry = entryOf(name)
  const located = await locate(fence, join(fence.homeMounts, name))
  if (located === undefined) return { entry, target: null, why: 'has a name that is no text' }
  if (isRefusal(located)) return { entry, ...located }
  const { path: source, kind } = located
  if (UNMOUNTABLE.test(name) || UNMOUNTABLE.test(source)) {
    return { entry, target: source, why: 'has a path with ":", "," or a control character' }
  }
  return { name, source, kind }
}

function entryOf(name: string): string {
  return `mounts/home/${name}`
}
