import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { LoopatError, MAX_GRANTS } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/error-code.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import { type Grant, type GrantRecord, isExpired } from './grant.ts'
import { GrantFile } from './grant-file.ts'

/** Name of the files, in the directory of a loop and in the home. Neither is ever mounted. */
export const GRANT_FILE = 'host.json'
/** Longest sleep until the next look for what has expired, in milliseconds: a clock may be set. */
const LOOK_MS = 30_000

/** A loop, or the workspace. */
export type GrantScope = string | null

/** Where grants are. */
export interface GrantBookOptions {
  readonly home: string
  /** Directory of all loops. */
  readonly loops: string
  readonly clock: Clock
  /** Some have expired. Must not throw. */
  readonly onExpired: () => void
}

/** A grant of the configuration. */
export interface ConfigGrant {
  readonly grant: Grant
  /** Name or id of the only loop that it is for. */
  readonly loop: string | undefined
}

/** A loop, by the names that the configuration may use. */
export interface NamedLoop {
  readonly id: string
  readonly name: string
}

/** All grants, and the order in which they count. */
export class GrantBook implements Disposable {
  readonly #options: GrantBookOptions
  readonly #files = new Map<GrantScope, GrantFile>()
  readonly #mutex = new KeyedMutex()
  readonly #closed = new AbortController()
  #config: readonly ConfigGrant[] = []
  #isWatching = false
  #nap = new AbortController()

  constructor(options: GrantBookOptions) {
    this.#options = options
  }

  /** Takes the grants of the configuration, in its order. */
  configure(grants: readonly ConfigGrant[]): void {
    this.#config = grants
  }

  /** What counts for a loop, in order, what has expired left out. */
  async of({ id, name }: NamedLoop): Promise<Grant[]> {
    const [loop, workspace] = await Promise.all([this.#read(id), this.#read(null)])
    const own = this.#config
      .filter((row) => row.loop === id || row.loop === name)
      .map(({ grant }) => ({ ...grant, loop: id }))
    const all = this.#config.filter((row) => row.loop === undefined).map(({ grant }) => grant)
    const now = this.#options.clock.now()
    return [...loop, ...own, ...workspace, ...all].filter((grant) => !isExpired(grant, now))
  }

  /** Everything there is: of these loops, of the workspace and of the configuration. */
  async all(ids: readonly string[]): Promise<Grant[]> {
    const now = this.#options.clock.now()
    const loops = await Promise.all(ids.map((id) => this.#read(id)))
    const config = this.#config.map(({ grant }) => grant)
    return [...loops.flat(), ...(await this.#read(null)), ...config].filter((grant) => !isExpired(grant, now))
  }

  /** Files that cannot be read as they are. */
  faults(): { file: string; message: string }[] {
    return [...this.#files.values()].flatMap(({ path, fault }) =>
      fault === undefined ? [] : [{ file: path, message: fault }],
    )
  }

  /**
   * Adds a grant before all others of its scope; one of the same pattern goes.
   * @throws LoopatError `storage_failed`, `too_many_grants`
   */
  async add(scope: GrantScope, draft: Omit<GrantRecord, 'id' | 'createdAt'>): Promise<Grant> {
    const record: GrantRecord = {
      ...draft,
      id: randomBytes(4).toString('hex'),
      createdAt: this.#options.clock.now().toISOString(),
    }
    return await this.#change(scope, (grants) => {
      const kept = grants.filter((old) => !isSame(old.record, record)).map((old) => old.record)
      if (kept.length >= MAX_GRANTS) {
        throw new LoopatError(
          'too_many_grants',
          `there are ${kept.length} grants already; more than ${MAX_GRANTS} are not kept`,
          {
            next: 'Revoke some: loopctl host ls',
          },
        )
      }
      return { records: [record, ...kept], answer: () => this.#find(scope, record.id) }
    })
  }

  /**
   * Takes grants of a scope away.
   * @param named id or pattern of one; all when undefined
   * @throws LoopatError `grant_not_found`, `storage_failed`
   */
  async remove(scope: GrantScope, named: string | undefined): Promise<Grant[]> {
    return await this.#change(scope, (grants) => {
      const isNamed = ({ record }: Grant) =>
        named === undefined || record.id === named || record.pattern === named.trim()
      const removed = grants.filter(isNamed)
      if (named !== undefined && removed.length === 0) {
        throw new LoopatError('grant_not_found', `there is no grant ${JSON.stringify(named)} here`, {
          next: 'Run: loopctl host ls',
        })
      }
      const records = grants.filter((grant) => !isNamed(grant)).map(({ record }) => record)
      return { records, answer: () => removed }
    })
  }

  /** Forgets a loop that is no more. */
  forget(id: string): void {
    this.#files.delete(id)
  }

  [Symbol.dispose](): void {
    this.#closed.abort()
  }

  async #change<T>(
    scope: GrantScope,
    change: (grants: readonly Grant[]) => { readonly records: readonly GrantRecord[]; readonly answer: () => T },
  ): Promise<T> {
    return await this.#mutex.run(scope ?? '', async () => {
      const file = this.#file(scope)
      const now = this.#options.clock.now()
      const before = (await file.read()).filter((grant) => !isExpired(grant, now))
      if (file.fault !== undefined) {
        // Writing would replace what its user has written there.
        throw new LoopatError('storage_failed', `${file.path} ${file.fault}`, {
          next: 'Correct or remove the file; what it said before stays in force until then.',
          details: { path: file.path },
        })
      }
      const { records, answer } = change(before)
      try {
        await file.write(records)
      } catch (error) {
        const code = errorCode(error)
        if (code === undefined) throw error
        throw new LoopatError('storage_failed', `${file.path} cannot be written (${code})`, {
          next: 'Make room on the disk, or check its permissions.',
          details: { path: file.path, code },
          cause: error,
        })
      }
      this.#watch()
      return answer()
    })
  }

  #find(scope: GrantScope, id: string): Grant {
    const found = this.#file(scope).grants.find(({ record }) => record.id === id)
    if (found === undefined) throw new LoopatError('internal', `the grant ${id} vanished while it was written`)
    return found
  }

  async #read(scope: GrantScope): Promise<readonly Grant[]> {
    const grants = await this.#file(scope).read()
    if (grants.some(({ record }) => record.expiresAt !== undefined)) this.#watch()
    return grants
  }

  #file(scope: GrantScope): GrantFile {
    const known = this.#files.get(scope)
    if (known !== undefined) return known
    const { home, loops } = this.#options
    const file =
      scope === null
        ? new GrantFile(join(home, GRANT_FILE), { origin: 'workspace', loop: null })
        : new GrantFile(join(loops, scope, GRANT_FILE), { origin: 'loop', loop: scope })
    this.#files.set(scope, file)
    return file
  }

  /** Sleeps until the next grant ends, as long as there are any that do. */
  #watch(): void {
    this.#nap.abort()
    if (this.#isWatching) return
    this.#isWatching = true
    void this.#watchOn()
  }

  async #watchOn(): Promise<void> {
    const { clock, onExpired } = this.#options
    const { signal } = this.#closed
    for (let last = clock.now().getTime(); !signal.aborted; ) {
      const now = clock.now().getTime()
      // Somebody has set the clock back: what had ended is in force again.
      last = Math.min(last, now)
      const ends = [...this.#files.values()]
        .flatMap(({ grants }) => grants)
        .map(({ record }) => Date.parse(record.expiresAt ?? ''))
        .filter((at) => at > last)
      if (ends.length === 0) {
        this.#isWatching = false
        return
      }
      if (Math.min(...ends) <= now) {
        last = now
        onExpired()
        continue
      }
      this.#nap = new AbortController()
      const woken = AbortSignal.any([signal, this.#nap.signal])
      try {
        await clock.sleep(Math.min(LOOK_MS, Math.min(...ends) - now), woken)
      } catch (error) {
        if (!woken.aborted) throw error
      }
    }
  }
}

function isSame(old: GrantRecord, fresh: GrantRecord): boolean {
  return old.pattern === fresh.pattern && JSON.stringify(old.argv) === JSON.stringify(fresh.argv)
}
