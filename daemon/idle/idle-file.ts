import { constants } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile, writeFileAtomic } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/error-code.ts'
import { formatRecord, type IdleRecord, parseRecord } from './idle-record.ts'

/** Name of the file in the directory of a loop. */
const FILE = 'idle.json'
/** Largest file that is read, in bytes. */
const MAX_BYTES = 262_144
/** Files that are read at the same time. */
const PARALLEL = 16

/** The files of records, one per loop. Only owner of them. */
export class IdleFiles {
  readonly #loops: string

  /** @param loops directory of all loops */
  constructor(loops: string) {
    this.#loops = loops
  }

  /** All records that can be read, by loop. What is no record counts as none. */
  async readAll(): Promise<Map<string, IdleRecord>> {
    const records = new Map<string, IdleRecord>()
    const queue = (await names(this.#loops)).filter((name) => !name.startsWith('.'))
    const worker = async () => {
      for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
        const record = await this.#read(id)
        if (record !== undefined) records.set(id, record)
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, worker))
    return records
  }

  /**
   * Replaces the record of a loop.
   * @param isDurable whether it must survive a power cut; otherwise only the end of this process
   * @returns false when the loop has no directory any more
   * @throws the file system's error
   */
  async write(id: string, record: IdleRecord, isDurable: boolean): Promise<boolean> {
    const path = join(this.#loops, id, FILE)
    try {
      if (isDurable) await writeFileAtomic(path, formatRecord(record))
      else await replaceFile(path, formatRecord(record))
      return true
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false
      throw error
    }
  }

  async #read(id: string): Promise<IdleRecord | undefined> {
    try {
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
      await using file = await open(join(this.#loops, id, FILE), flags)
      const stats = await file.stat()
      if (!stats.isFile() || stats.size > MAX_BYTES) return undefined
      return parseRecord(await file.readFile('utf8'))
    } catch (error) {
      // Nothing known harms nobody: the window begins anew.
      if (errorCode(error) === undefined) throw error
      return undefined
    }
  }
}

async function names(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}
