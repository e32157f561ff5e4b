import { LoopatError } from '@loopatd/protocol'
import { errorCode } from '../lib/error-code.ts'
import type { Logger } from '../log.ts'

export { errorCode }

/** Whether metadata can be written. */
export interface StorageState {
  readonly writable: boolean
  /** Why not. */
  readonly reason: string | null
}

const NEXT_BY_CODE: Readonly<Record<string, string>> = {
  EDQUOT: 'Free some of your disk quota and try again; running loops stay usable.',
  ENOSPC: 'Free disk space and try again; running loops stay usable.',
  EROFS: 'Mount the file system writable and try again; running loops stay usable.',
}

/**
 * Remembers whether the workspace can be written: from a failed write until a later one succeeds. Nothing is refused
 * meanwhile, since only a write can tell that it works again; reads do not depend on it.
 */
export class StorageHealth {
  readonly #log: Logger
  #reason: string | null = null

  constructor(log: Logger) {
    this.#log = log
  }

  get state(): StorageState {
    return { writable: this.#reason === null, reason: this.#reason }
  }

  /**
   * Runs a write of metadata. It is what tells whether the workspace can be written.
   * @param path what is written, for the message
   * @throws `storage_failed` for every error of the file system; anything else as it is
   */
  async write<T>(path: string, work: () => Promise<T>): Promise<T> {
    const result = await this.guard(path, work)
    if (this.#reason !== null) this.#log.info({ path }, 'the workspace can be written again')
    this.#reason = null
    return result
  }

  /** Runs another change of the file system: its failure counts, but its success proves nothing about full disks. */
  async guard<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const code = errorCode(error)
      if (code === undefined) throw error
      this.#reason = `cannot write ${path}: ${code}`
      this.#log.warn({ path, code }, 'the workspace cannot be written')
      throw new LoopatError('storage_failed', `cannot write ${path} (${code})`, {
        next: NEXT_BY_CODE[code] ?? `Check the owner and the permissions of ${path}.`,
        details: { path, code },
        cause: error,
      })
    }
  }
}
