import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { isLoopatError, LoopatError } from '@loopatd/protocol'
import { writeFileAtomic } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/error-code.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import { type Grant, GrantFileContent, type GrantOrigin, type GrantRecord, toGrant } from './grant.ts'

/** Largest file that is read, in bytes. */
const MAX_BYTES = 4_194_304

/** What is known of a file. */
interface Known {
  /** What the file looked like when it was read. */
  readonly mark: string
  readonly grants: readonly Grant[]
  /** Why the file cannot be read as it is now; then the grants are those of before. */
  readonly fault: string | undefined
}

/**
 * A file of grants, which its user may edit. It is read again when it has changed. While it is nonsense, what it said
 * before stays in force; a daemon that starts then has none of its grants.
 */
export class GrantFile {
  readonly path: string
  readonly #origin: GrantOrigin
  /** Reads and writes come one after the other: one that was slow must not undo what a later one has seen. */
  readonly #mutex = new KeyedMutex()
  #known: Known = { mark: '', grants: [], fault: undefined }

  constructor(path: string, origin: GrantOrigin) {
    this.path = path
    this.#origin = origin
  }

  /** Why the file cannot be read; undefined when it can. */
  get fault(): string | undefined {
    return this.#known.fault
  }

  /** What was read last. */
  get grants(): readonly Grant[] {
    return this.#known.grants
  }

  /** Reads the file if it has changed. */
  async read(): Promise<readonly Grant[]> {
    return await this.#mutex.run('', () => this.#read())
  }

  /**
   * Replaces the grants.
   * @throws the file system's error, LoopatError `too_many_grants`; nothing is changed then
   */
  async write(records: readonly GrantRecord[]): Promise<void> {
    const text = `${JSON.stringify({ version: 1, grants: records }, null, 2)}\n`
    const bytes = Buffer.byteLength(text)
    if (bytes > MAX_BYTES) {
      throw new LoopatError('too_many_grants', `${this.path} would have ${bytes} bytes; ${MAX_BYTES} are allowed`, {
        next: 'Revoke some: loopctl host ls',
        details: { path: this.path },
      })
    }
    await this.#mutex.run('', async () => {
      await writeFileAtomic(this.path, text)
      this.#known = { mark: '', grants: records.map((record) => toGrant(record, this.#origin)), fault: undefined }
      await this.#read()
    })
  }

  async #read(): Promise<readonly Grant[]> {
    const { grants } = this.#known
    try {
      const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
      await using file = await open(this.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      const stats = await file.stat({ bigint: true })
      const mark = `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`
      if (mark === this.#known.mark) return grants
      const read =
        stats.isFile() && stats.size <= MAX_BYTES ? this.#parse(await file.readFile('utf8')) : 'is no file of grants'
      this.#known = typeof read === 'string' ? { mark, grants, fault: read } : { mark, grants: read, fault: undefined }
    } catch (error) {
      const code = errorCode(error)
      if (code === undefined) throw error
      const fault = code === 'ENOENT' ? undefined : `cannot be read (${code})`
      this.#known = { mark: '', grants: fault === undefined ? [] : grants, fault }
    }
    return this.#known.grants
  }

  /** @returns what is wrong with it when it cannot be understood */
  #parse(text: string): Grant[] | string {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (error) {
      if (error instanceof SyntaxError) return `is not JSON: ${error.message}`
      throw error
    }
    const result = GrantFileContent.safeParse(value)
    if (!result.success) {
      const [issue] = result.error.issues
      return `is no file of grants: ${[issue?.path.join('.'), issue?.message].filter(Boolean).join(': ')}`
    }
    try {
      return result.data.grants.map((record) => toGrant(record, this.#origin))
    } catch (error) {
      if (isLoopatError(error)) return error.message
      throw error
    }
  }
}
