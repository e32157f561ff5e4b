import { appendFileSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { HostLogEntry, LoopatError } from '@loopatd/protocol'
import { errorCode } from '../lib/error-code.ts'

/** Size at which a file is set aside, in bytes, and how many are kept besides the one that is written. */
const ROTATE_BYTES = 10_485_760
const KEPT_FILES = 5
/** Entries that are held in memory for those who follow. */
const HELD = 2000

/** An entry with its number; numbers grow, and are never used again. */
interface Numbered {
  readonly n: number
  readonly entry: HostLogEntry
}

/**
 * The log of host commands: JSON lines, only ever appended to, each on the disk's way before what it tells of happens.
 * When a file is full, it is renamed to `.1`, and those before it move on.
 */
export class HostLog {
  readonly #path: string
  readonly #rotateBytes: number
  readonly #held: Numbered[] = []
  readonly #waiting = new Set<() => void>()
  #isOpen = false
  #next = 1
  #size = 0
  /** Whether the file may end in the middle of a line. */
  #isCut = false

  /** @param path of the file, which is looked at when it is first used */
  constructor(path: string, rotateBytes = ROTATE_BYTES) {
    this.#path = path
    this.#rotateBytes = rotateBytes
  }

  /** Adds an entry. @throws LoopatError `storage_failed`; what it tells of must not happen then */
  append(entry: HostLogEntry): void {
    const numbered = this.#onDisk('written', () => {
      this.#open()
      if (this.#size > this.#rotateBytes) this.#rotate()
      const next = { n: this.#next, entry }
      this.#write(`${JSON.stringify({ n: next.n, ...entry })}\n`)
      return next
    })
    this.#next += 1
    this.#held.push(numbered)
    if (this.#held.length > HELD) this.#held.shift()
    for (const wake of this.#waiting) wake()
  }

  /**
   * Reads entries, oldest first.
   * @param after number of the last entry that was seen; the newest ones when undefined
   * @throws LoopatError `storage_failed`
   */
  read({ after, limit, loop }: { after: number | undefined; limit: number; loop: string | undefined }): {
    entries: HostLogEntry[]
    next: number
  } {
    return this.#onDisk('read', () => {
      this.#open()
      const isWanted = ({ entry }: Numbered) => loop === undefined || entry.loop === loop
      const last = this.#next - 1
      if (after === undefined) return { entries: this.#newest(limit, isWanted).map(({ entry }) => entry), next: last }
      const first = this.#held[0]?.n ?? this.#next
      const source = after + 1 >= first ? this.#held : this.#all()
      const found = source.filter((numbered) => numbered.n > after && isWanted(numbered))
      const part = found.slice(0, limit)
      return { entries: part.map(({ entry }) => entry), next: found.length > limit ? (part.at(-1)?.n ?? last) : last }
    })
  }

  /** Resolves when there is another entry, or the signal aborts. Never rejects. */
  async more(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const over = new AbortController()
    await new Promise<void>((resolve) => {
      const wake = () => resolve()
      this.#waiting.add(wake)
      over.signal.addEventListener('abort', () => this.#waiting.delete(wake))
      signal.addEventListener('abort', wake, { signal: over.signal })
    })
    over.abort()
  }

  /** Goes on where the last run of the daemon stopped. */
  #open(): void {
    if (this.#isOpen) return
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
    const [last] = this.#newest(1, () => true)
    this.#next = (last?.n ?? 0) + 1
    this.#size = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0
    this.#isCut = this.#size > 0
    this.#isOpen = true
  }

  /** @throws LoopatError `storage_failed` in place of the file system's error */
  #onDisk<T>(what: string, work: () => T): T {
    try {
      return work()
    } catch (error) {
      const code = errorCode(error)
      if (code === undefined) throw error
      throw new LoopatError('storage_failed', `the log ${this.#path} cannot be ${what} (${code})`, {
        next: 'Make room on the disk, or check its permissions.',
        details: { path: this.#path, code },
        cause: error,
      })
    }
  }

  /** Where the disk was full in the middle of a line, the next one begins anew. */
  #write(line: string): void {
    const text = this.#isCut ? `\n${line}` : line
    this.#isCut = true
    appendFileSync(this.#path, text, { mode: 0o600 })
    this.#isCut = false
    this.#size += Buffer.byteLength(text)
  }

  #all(): Numbered[] {
    return this.#files().toReversed().flatMap(readNumbered)
  }

  /** The last ones, oldest first; of older files no more is read than that takes. */
  #newest(limit: number, isWanted: (numbered: Numbered) => boolean): Numbered[] {
    const held = this.#held.filter(isWanted)
    if (held.length >= limit) return held.slice(-limit)
    const found: Numbered[] = []
    for (const path of this.#files()) {
      for (const line of readLines(path).toReversed()) {
        const numbered = parseLine(line)
        if (numbered === undefined || !isWanted(numbered)) continue
        if (found.push(numbered) === limit) return found.toReversed()
      }
    }
    return found.toReversed()
  }

  /** Paths of all files, the newest first. */
  #files(): string[] {
    return [this.#path, ...Array.from({ length: KEPT_FILES }, (_, index) => `${this.#path}.${index + 1}`)]
  }

  #rotate(): void {
    for (let number = KEPT_FILES; number > 0; number -= 1) {
      const from = number === 1 ? this.#path : `${this.#path}.${number - 1}`
      if (statSync(from, { throwIfNoEntry: false }) !== undefined) renameSync(from, `${this.#path}.${number}`)
    }
    this.#size = 0
  }
}

/** Entries of a file; lines that are none, such as one that a crash cut off, are passed over. */
function readNumbered(path: string): Numbered[] {
  return readLines(path).flatMap((line) => parseLine(line) ?? [])
}

/** Lines of a file that need not be there. */
function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    return []
  }
}

function parseLine(line: string): Numbered | undefined {
  if (line === '') return undefined
  try {
    const { n, ...rest } = JSON.parse(line) as Record<string, unknown>
    const result = HostLogEntry.safeParse(rest)
    return typeof n === 'number' && result.success ? { n, entry: result.data } : undefined
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined
    throw error
  }
}
