import { constants, lstatSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type Meta, parseMeta } from './loop-meta.ts'
import type { LoopPaths } from './loop-path.ts'
import { errorCode } from './storage-health.ts'

/** Largest `meta.json` that is read, in bytes. */
const MAX_BYTES = 1_048_576

/** A loop as it is on disk. */
export type StoredLoop =
  | { readonly kind: 'readable'; readonly id: string; readonly meta: Meta }
  /** Its metadata cannot be read; it is shown, and nothing is done to it. */
  | { readonly kind: 'broken'; readonly id: string; readonly reason: string }

interface CachedFile {
  /** Changes whenever the file does. */
  readonly identity: string
  readonly loop: StoredLoop
}

/** Reads metadata, and reads a file again only when it changed. Links, other people's files and special files are refused. */
export class MetaFiles {
  readonly #cache = new Map<string, CachedFile>()

  /**
   * Reads the metadata of one loop.
   * @returns undefined when there is no such directory, or when it is still being made
   */
  async read(id: string, paths: LoopPaths): Promise<StoredLoop | undefined> {
    const unsafe = whyUnsafe(paths.directory)
    if (unsafe === 'missing') return undefined
    if (unsafe !== undefined) return broken(id, unsafe)
    const file = statOf(paths.meta)
    if (file === undefined) return statOf(paths.creating) === undefined ? broken(id, 'it has no meta.json') : undefined
    const identity = `${file.ino} ${file.size} ${file.mtimeNs} ${file.ctimeNs}`
    const cached = this.#cache.get(id)
    if (cached?.identity === identity) return cached.loop
    const loop = await readMeta(id, paths.meta)
    this.#cache.set(id, { identity, loop })
    return loop
  }

  /** Id of the one loop that had this name when it was last read. */
  idOf(name: string): string | undefined {
    const loops = [...this.#cache.values()].map(({ loop }) => loop)
    const [first, ...others] = loops.filter((loop) => loop.kind === 'readable' && loop.meta.name === name)
    return others.length === 0 ? first?.id : undefined
  }

  /** Forgets what is not there any more. */
  retain(ids: ReadonlySet<string>): void {
    for (const id of this.#cache.keys()) if (!ids.has(id)) this.#cache.delete(id)
  }
}

/** A loop that cannot be read, and why. */
export function broken(id: string, reason: string): StoredLoop {
  return { kind: 'broken', id, reason }
}

function whyUnsafe(directory: string): string | undefined {
  const stats = statOf(directory)
  if (stats === undefined) return 'missing'
  if (stats.isSymbolicLink()) return 'it is a symbolic link'
  if (!stats.isDirectory()) return 'it is not a directory'
  const uid = process.getuid?.()
  return uid === undefined || stats.uid === BigInt(uid) ? undefined : 'it belongs to another user'
}

async function readMeta(id: string, path: string): Promise<StoredLoop> {
  try {
    // Neither a link nor a FIFO must lead elsewhere or block.
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      return await parseFile(id, file)
    } finally {
      await file.close()
    }
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    return broken(id, code === 'ELOOP' ? 'meta.json is a symbolic link' : `meta.json cannot be read (${code})`)
  }
}

async function parseFile(id: string, file: FileHandle): Promise<StoredLoop> {
  const stats = await file.stat()
  if (!stats.isFile()) return broken(id, 'meta.json is not a file')
  if (stats.size > MAX_BYTES) return broken(id, `meta.json has more than ${MAX_BYTES} bytes`)
  const parsed = parseMeta(await file.readFile('utf8'), id)
  return 'meta' in parsed ? { kind: 'readable', id, meta: parsed.meta } : broken(id, parsed.reason)
}

/**
 * Looks at a file; undefined when there is none. Synchronous: a list looks at two files of each loop, and handing each
 * look to the thread pool takes ten times as long as the look.
 */
function statOf(path: string) {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })
}
