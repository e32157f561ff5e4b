import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { removeTemporaries, writeFileAtomic } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/error-code.ts'
import { formatRecord, type JobRecord, parseRecord } from './job-record.ts'

const FILE = /^([0-9a-f]{8})\.json$/

/** Records of jobs: a file each, in a directory of its loop that the loop itself cannot reach. */
export class JobStore {
  readonly #directoryOf: (loop: string) => string

  /** @param directoryOf directory of a loop's records; its parent is there as long as the loop is */
  constructor(directoryOf: (loop: string) => string) {
    this.#directoryOf = directoryOf
  }

  /** Makes the directory of a loop. @throws `storage_failed` */
  async prepare(loop: string): Promise<void> {
    const directory = this.#directoryOf(loop)
    await guard(directory, async () => {
      try {
        await mkdir(directory, { mode: 0o700 })
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error
      }
    })
  }

  /** Writes a record. @returns whether the loop is still there. @throws `storage_failed` */
  async write(record: JobRecord): Promise<boolean> {
    const path = this.#path(record.loop, record.id)
    return await guard(path, () =>
      unlessGone(
        writeFileAtomic(path, formatRecord(record)).then(() => true),
        false,
      ),
    )
  }

  /** @returns undefined when there is none that can be read. @throws `storage_failed` */
  async read(loop: string, id: string): Promise<JobRecord | undefined> {
    const path = this.#path(loop, id)
    const text = await guard(path, () => unlessGone(readFile(path, 'utf8'), ''))
    const record = parseRecord(text)
    return record?.id === id && record.loop === loop ? record : undefined
  }

  /** Records of a loop, newest first. @throws `storage_failed` */
  async list(loop: string): Promise<JobRecord[]> {
    const records: JobRecord[] = []
    for (const id of await this.#ids(loop)) {
      const record = await this.read(loop, id)
      if (record !== undefined) records.push(record)
    }
    return records.sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
  }

  /** How many records a loop has. @throws `storage_failed` */
  async count(loop: string): Promise<number> {
    return (await this.#ids(loop)).length
  }

  /** Removes a record, if there is one. @throws `storage_failed` */
  async remove(loop: string, id: string): Promise<void> {
    const path = this.#path(loop, id)
    await guard(path, () => rm(path, { force: true }))
  }

  /** Removes what a crash left half-written. @throws `storage_failed` */
  async recover(loop: string): Promise<void> {
    const directory = this.#directoryOf(loop)
    await guard(directory, () => unlessGone(removeTemporaries(directory), undefined))
  }

  async #ids(loop: string): Promise<string[]> {
    const directory = this.#directoryOf(loop)
    const names = await guard(directory, () => unlessGone(readdir(directory), []))
    return names.flatMap((name) => FILE.exec(name)?.[1] ?? [])
  }

  #path(loop: string, id: string): string {
    return join(this.#directoryOf(loop), `${id}.json`)
  }
}

async function unlessGone<T>(work: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return otherwise
    throw error
  }
}

async function guard<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    throw new LoopatError('storage_failed', `cannot work on ${path} (${code})`, {
      next: `Check the space and the permissions of ${path}.`,
      details: { path, code },
      cause: error,
    })
  }
}
