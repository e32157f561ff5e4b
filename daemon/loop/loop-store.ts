import { randomUUID } from 'node:crypto'
import type { Dirent } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isLoopatError, LoopatError } from '@loopatd/protocol'
import { isEngineError } from '../engine/engine.ts'
import { writeFileAtomic } from '../lib/atomic-file.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Logger } from '../log.ts'
import { formatMeta, type Meta } from './loop-meta.ts'
import { isLoopId, type LoopPaths, loopPaths } from './loop-path.ts'
import { broken, MetaFiles, type StoredLoop } from './meta-file.ts'
import { errorCode, StorageHealth, type StorageState } from './storage-health.ts'
import { findLeftovers, removeTree, setAside } from './store-cleanup.ts'

export type { StoredLoop } from './meta-file.ts'
export type { StorageState } from './storage-health.ts'

/** What the store is made of. */
export interface LoopStoreOptions {
  /** Directory of all loops, `<home>/loops`. */
  readonly directory: string
  readonly log: Logger
  /** Deletes a tree of which parts belong to sub-uids, which the host user itself must not delete. */
  readonly removeAsRoot: (path: string) => Promise<void>
  /** Writes that tests let fail. */
  readonly files?: StoreFiles
}

/** How the store writes. */
export interface StoreFiles {
  readonly makeDirectory: (path: string) => Promise<void>
  readonly write: (path: string, content: string) => Promise<void>
}

/** A loop that is being made. It is not listed until it is committed. */
export interface LoopDraft {
  readonly id: string
  readonly paths: LoopPaths
  /** Writes the metadata: from now on the loop exists. @throws `storage_failed` */
  commit(meta: Meta): Promise<void>
  /** Takes everything back. @throws `storage_failed` */
  discard(): Promise<void>
}

const realFiles: StoreFiles = {
  makeDirectory: async (path) => {
    await mkdir(path, { mode: 0o700 })
  },
  write: (path, content) => writeFileAtomic(path, content, 0o600),
}

/** A file that is written at start and removed again; hidden, and so no loop. */
const PROBE = '.probe'
/** More than one block, like metadata at its largest. */
const PROBE_BYTES = 16_384

/** Loop metadata on disk: one directory per loop, `meta.json` written last (rules L-3a, L-30). Only owner of these files. */
export class LoopStore {
  readonly #directory: string
  readonly #log: Logger
  readonly #removeAsRoot: (path: string) => Promise<void>
  readonly #files: StoreFiles
  readonly #health: StorageHealth
  readonly #metas = new MetaFiles()
  readonly #mutex = new KeyedMutex()
  readonly #drafts = new Set<string>()
  #leftovers: string[] = []

  constructor(options: LoopStoreOptions) {
    this.#directory = options.directory
    this.#log = options.log
    this.#removeAsRoot = options.removeAsRoot
    this.#files = options.files ?? realFiles
    this.#health = new StorageHealth(options.log)
  }

  /** Whether the last write succeeded. */
  get storage(): StorageState {
    return this.#health.state
  }

  /** Where a loop is on the host. */
  paths(id: string): LoopPaths {
    return loopPaths(this.#directory, id)
  }

  /**
   * Finds what a crash left behind, and takes it out of the list. Call it once, before anything else.
   * @throws `storage_failed` when the directory cannot be read
   */
  async recover(): Promise<void> {
    this.#leftovers = await this.#health.guard(this.#directory, () => findLeftovers(this.#directory, this.#log))
    await this.#probe()
  }

  /** Writes something, so that a disk that is full already is told before somebody loses a change to it. */
  async #probe(): Promise<void> {
    const path = join(this.#directory, PROBE)
    try {
      await this.#health.write(path, () => this.#files.write(path, 'x'.repeat(PROBE_BYTES)))
      await this.#health.guard(path, () => rm(path, { force: true }))
    } catch (error) {
      if (!isLoopatError(error, 'storage_failed')) throw error
    }
  }

  /** Deletes what {@link recover} found. Failures are logged; the next start tries again. */
  async purge(): Promise<void> {
    for (const path of this.#leftovers.splice(0)) {
      try {
        await removeTree(path, this.#removeAsRoot)
        this.#log.info({ path }, 'removed what a crash left behind')
      } catch (error) {
        if (errorCode(error) === undefined && !isEngineError(error)) throw error
        this.#log.warn({ path, err: error }, 'what a crash left behind cannot be removed')
      }
    }
  }

  /** All loops, newest first, broken ones last. */
  async list(): Promise<StoredLoop[]> {
    const entries = await this.#entries()
    const loops = await Promise.all(entries.map((entry) => this.#load(entry.name)))
    this.#metas.retain(new Set(entries.map(({ name }) => name)))
    return loops.filter((loop) => loop !== undefined).sort(compareLoops)
  }

  /** One loop; undefined when there is none of this id. */
  async read(id: string): Promise<StoredLoop | undefined> {
    return isLoopId(id) ? await this.#load(id) : (await this.list()).find((loop) => loop.id === id)
  }

  /** The loop of this name, without reading them all when it was read before; undefined when it has to be looked for. */
  async findByName(name: string): Promise<StoredLoop | undefined> {
    const id = this.#metas.idOf(name)
    const loop = id === undefined ? undefined : await this.read(id)
    return loop?.kind === 'readable' && loop.meta.name === name ? loop : undefined
  }

  /**
   * Begins a new loop: makes its directory with an empty workdir.
   * @throws `storage_failed`; nothing is left then
   */
  async begin(): Promise<LoopDraft> {
    const id = randomUUID()
    const paths = this.paths(id)
    const discard = async () => {
      await this.delete(id)
      this.#drafts.delete(id)
    }
    this.#drafts.add(id)
    try {
      await this.#health.guard(paths.directory, async () => {
        await this.#files.makeDirectory(paths.directory)
        await this.#files.write(paths.creating, '')
        await this.#files.makeDirectory(paths.workdir)
      })
    } catch (error) {
      await discard()
      throw error
    }
    return { id, paths, commit: (meta) => this.#commit(id, meta), discard }
  }

  /**
   * Changes the metadata of one loop: read, change, write, one after the other.
   * @throws `loop_not_found`, `loop_broken`, `storage_failed`
   */
  async update(id: string, change: (meta: Meta) => Meta): Promise<Meta> {
    return await this.#mutex.run(id, async () => {
      const loop = await this.read(id)
      if (loop === undefined) throw new LoopatError('loop_not_found', `loop ${id} no longer exists`)
      if (loop.kind === 'broken') throw brokenLoop(loop, this.paths(id).meta)
      const meta = change(loop.meta)
      const { meta: path } = this.paths(id)
      await this.#health.write(path, () => this.#files.write(path, formatMeta(meta)))
      return meta
    })
  }

  /**
   * Makes the directories of a loop that its container mounts, as far as they are missing, so that none of them is made
   * by the engine for a sub-uid (rule C-14).
   * @throws `storage_failed`
   */
  async prepareMounts(id: string): Promise<void> {
    const { home, run } = this.paths(id)
    await this.#health.guard(run, () => this.#makeMissing(run))
    // Only into a home that nobody has written yet: later it is the sandbox's, and may hold links.
    await this.#health.guard(home, async () => {
      if (!(await this.#makeMissing(home))) return
      for (const path of ['.claude', '.claude/plugins', '.local', '.local/share']) {
        await this.#files.makeDirectory(join(home, path))
      }
    })
  }

  /**
   * Does other work in the directory of a loop.
   * @throws `storage_failed` for every error of the file system; anything else as it is
   */
  async guard<T>(id: string, work: () => Promise<T>): Promise<T> {
    return await this.#health.guard(this.paths(id).directory, work)
  }

  /**
   * Deletes a loop with everything in it. One that does not exist is a success.
   * @throws `storage_failed`; what is left is then no longer listed, and deleted at the next start
   */
  async delete(id: string): Promise<void> {
    if (!isLoopId(id)) throw new LoopatError('internal', `"${id}" is not a loop id`)
    const { directory } = this.paths(id)
    await this.#mutex.run(id, () =>
      this.#health.guard(directory, async () => {
        const aside = await setAside(this.#directory, id)
        if (aside !== undefined) await this.#deleteTree(aside)
      }),
    )
  }

  async #deleteTree(path: string): Promise<void> {
    try {
      await removeTree(path, this.#removeAsRoot)
    } catch (error) {
      if (!isEngineError(error)) throw error
      throw new LoopatError('storage_failed', `cannot delete ${path}: ${error.message}`, {
        next: `Run: podman unshare rm -rf -- ${path}`,
        details: { path },
        cause: error,
      })
    }
  }

  async #commit(id: string, meta: Meta): Promise<void> {
    const { meta: path, creating } = this.paths(id)
    await this.#health.write(path, () => this.#files.write(path, formatMeta(meta)))
    await this.#health.guard(creating, () => rm(creating, { force: true }))
    this.#drafts.delete(id)
  }

  /** @returns whether the directory was made */
  async #makeMissing(path: string): Promise<boolean> {
    try {
      await this.#files.makeDirectory(path)
      return true
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return false
      throw error
    }
  }

  async #load(name: string): Promise<StoredLoop | undefined> {
    if (this.#drafts.has(name)) return undefined
    if (isLoopId(name)) return await this.#metas.read(name, this.paths(name))
    return broken(name, 'the name of its directory is not a loop id')
  }

  /** Everything that may be a loop. Hidden entries and stray files are not. */
  async #entries(): Promise<Dirent[]> {
    try {
      const entries = await readdir(this.#directory, { withFileTypes: true })
      return entries.filter((entry) => isLoopId(entry.name) || (!entry.isFile() && !entry.name.startsWith('.')))
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return []
      throw unreadable(this.#directory, error)
    }
  }
}

/** The error for everything that wants more of a broken loop than to see it. */
export function brokenLoop(loop: { readonly id: string; readonly reason: string }, path: string): LoopatError {
  return new LoopatError('loop_broken', `loop ${loop.id} is broken: ${loop.reason}`, {
    next: `Mend ${path}, or move the directory away.`,
    details: { loop: loop.id, path },
  })
}

function unreadable(directory: string, error: unknown): unknown {
  const code = errorCode(error)
  if (code === undefined) return error
  return new LoopatError('storage_failed', `cannot read ${directory} (${code})`, {
    next: `Check the owner and the permissions of ${directory}.`,
    details: { path: directory, code },
    cause: error,
  })
}

/** Newest first; ties by id, broken ones last. */
function compareLoops(a: StoredLoop, b: StoredLoop): number {
  if (a.kind === 'broken' || b.kind === 'broken') {
    return a.kind === b.kind ? compareText(a.id, b.id) : Number(a.kind === 'broken') - Number(b.kind === 'broken')
  }
  return Date.parse(b.meta.createdAt) - Date.parse(a.meta.createdAt) || compareText(a.id, b.id)
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
