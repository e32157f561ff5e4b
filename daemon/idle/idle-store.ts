import { LoopatError } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/error-code.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Logger } from '../log.ts'
import type { IdleFiles } from './idle-file.ts'
import type { IdleActivity, IdleRecord } from './idle-record.ts'
import { Timetable } from './timetable.ts'

/** How long activity that nobody would miss is collected before it is written, in milliseconds. */
const COLLECT_MS = 5_000

/** What the store is made of. */
export interface IdleStoreOptions {
  readonly files: Pick<IdleFiles, 'readAll' | 'write'>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * What is kept of the loops' sleep. Settings are written at once and for good. Activity is written when a loop comes into
 * use, and then only some seconds after the last use, however many there were: a daemon that dies in between leaves "in
 * use" behind, and the window begins anew.
 */
export class IdleStore implements AsyncDisposable {
  readonly #options: IdleStoreOptions
  readonly #records = new Map<string, IdleRecord>()
  /** Loops that are in use according to the disk. */
  readonly #heldOnDisk = new Set<string>()
  readonly #mutex = new KeyedMutex()
  readonly #late: Timetable
  readonly #writing = new Set<Promise<void>>()

  constructor(options: IdleStoreOptions) {
    this.#options = options
    this.#late = new Timetable(options.clock, (id) => this.#writeSoon(id))
  }

  /** Reads everything. Call it once, before anything else. */
  async load(): Promise<void> {
    for (const [id, record] of await this.#options.files.readAll()) {
      this.#records.set(id, record)
      if (record.activity?.isHeld === true) this.#heldOnDisk.add(id)
    }
  }

  /** Loops of which something is kept. */
  ids(): string[] {
    return [...this.#records.keys()]
  }

  /** What is known of a loop. */
  get(id: string): IdleRecord {
    return this.#records.get(id) ?? {}
  }

  /**
   * Changes a record and waits until the disk has it.
   * @throws `storage_failed`; nothing is changed then
   */
  async change(id: string, change: (record: IdleRecord) => IdleRecord): Promise<void> {
    await this.#mutex.run(id, async () => {
      const before = this.get(id)
      this.#records.set(id, change(before))
      try {
        await this.#write(id, true)
      } catch (error) {
        const { activity: _activity, ...rest } = before
        const { activity } = this.get(id)
        this.#records.set(id, { ...rest, ...(activity === undefined ? {} : { activity }) })
        throw failed(error)
      }
    })
  }

  /** Notes activity. Returns at once; a disk that cannot be written is logged. */
  note(id: string, activity: IdleActivity): void {
    this.#records.set(id, { ...this.get(id), activity })
    if (activity.isHeld && !this.#heldOnDisk.has(id)) {
      this.#heldOnDisk.add(id)
      this.#writeSoon(id)
    } else if (this.#late.dueOf(id) === undefined) {
      this.#late.set(id, this.#options.clock.monotonicMs() + COLLECT_MS)
    }
  }

  /** Forgets a loop that is no more. */
  forget(id: string): void {
    this.#records.delete(id)
    this.#heldOnDisk.delete(id)
    this.#late.delete(id)
  }

  /** Writes what waits. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of this.#records.keys()) if (this.#late.dueOf(id) !== undefined) this.#writeSoon(id)
    this.#late[Symbol.dispose]()
    await Promise.all(this.#writing)
  }

  #writeSoon(id: string): void {
    const write = async () => {
      try {
        await this.#mutex.run(id, () => this.#write(id, false))
      } catch (error) {
        if (errorCode(error) === undefined) throw error
        this.#options.log.warn({ loop: id, err: error }, 'the last activity of a loop cannot be noted')
      }
    }
    const done = write().finally(() => this.#writing.delete(done))
    this.#writing.add(done)
  }

  async #write(id: string, isDurable: boolean): Promise<void> {
    const record = this.#records.get(id)
    if (record === undefined) return
    this.#late.delete(id)
    const isHeld = record.activity?.isHeld === true
    if (!(await this.#options.files.write(id, record, isDurable))) return
    if (isHeld) this.#heldOnDisk.add(id)
    else this.#heldOnDisk.delete(id)
  }
}

function failed(error: unknown): unknown {
  const code = errorCode(error)
  if (code === undefined) return error
  return new LoopatError('storage_failed', `the workspace cannot be written (${code})`, {
    next: 'Make room on the disk, or check its permissions.',
    details: { code },
    cause: error,
  })
}
