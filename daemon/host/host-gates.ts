import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errorCode } from '../lib/error-code.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Logger } from '../log.ts'
import type { SessionContext } from './caller-session.ts'
import { nameOf } from './command-lookup.ts'
import type { Grant } from './grant.ts'
import type { GrantBook, NamedLoop } from './grant-book.ts'
import type { HostLoops } from './host-loops.ts'
import type { HostRunner } from './host-run.ts'
import { LoopGate, SOCKET } from './loop-gate.ts'
import type { SessionLimits } from './session-slots.ts'

/** What the gates are made of. */
export interface HostGatesOptions {
  readonly context: SessionContext
  readonly book: GrantBook
  readonly loops: HostLoops
  readonly limits: SessionLimits
  readonly runner: Pick<HostRunner, 'warm'>
  /** Puts the forwarder, and a link to it for each of these names, into a control directory. */
  readonly arrange: (control: string, names: readonly string[]) => Promise<void>
  /** Names that a workdir declares. */
  readonly declared: (workdir: string) => Promise<readonly string[]>
  readonly log: Logger
}

/** The gates of all loops: open while a loop runs and anything is granted to it. */
export class HostGates {
  readonly #options: HostGatesOptions
  readonly #gates = new Map<string, LoopGate>()
  /** Loops that run, or are about to. */
  readonly #up = new Set<string>()
  /** Of those, the ones that have not been seen to run yet. */
  readonly #starting = new Set<string>()
  readonly #mutex = new KeyedMutex()
  readonly #background = new Set<Promise<void>>()
  #isClosed = false

  constructor(options: HostGatesOptions) {
    this.#options = options
  }

  /**
   * A loop is about to start: what it needs to reach the host is put into its control directory.
   * @throws the file system's error, LoopatError `storage_failed`
   */
  async prepare(id: string): Promise<void> {
    this.#up.add(id)
    this.#starting.add(id)
    await this.#mutex.run(id, async () => {
      if (!this.#isClosed) await this.#arrange(id)
    })
  }

  /**
   * What is known of a container: it runs, or does not. That one which is about to start does not yet changes nothing: its
   * callers would find the way closed until it is noticed that it does. Returns at once.
   */
  container(id: string, isRunning: boolean): void {
    if (isRunning) this.#starting.delete(id)
    if (this.#isClosed || (this.#up.has(id) === isRunning && !this.#starting.has(id))) return
    if (isRunning) this.#up.add(id)
    else if (!this.#starting.has(id)) this.#up.delete(id)
    this.#inBackground(id, () => this.refresh(id))
  }

  /** Has grants as they are now count for a loop. */
  async refresh(id: string): Promise<void> {
    await this.#mutex.run(id, async () => {
      if (this.#isClosed) return
      if (this.#up.has(id)) await this.#arrange(id)
      else await this.#drop(id)
    })
  }

  /** The same for every loop that runs. */
  async refreshAll(): Promise<void> {
    await Promise.all([...this.#up].map((id) => this.#refreshOne(id)))
  }

  /** The same, without waiting. */
  refreshSoon(): void {
    for (const id of this.#up) this.#inBackground(id, () => this.refresh(id))
  }

  /** Ends everything. Sockets stay where they are: their callers wait for the daemon that comes next. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#background)
    // What is being arranged for a loop is done before.
    const ids = [...this.#up, ...this.#gates.keys()]
    await Promise.all(ids.map((id) => this.#mutex.run(id, async () => await this.#gates.get(id)?.end(true))))
  }

  /** One loop that cannot be served must not keep others from it. */
  async #refreshOne(id: string): Promise<void> {
    try {
      await this.refresh(id)
    } catch (err) {
      this.#options.log.error({ loop: id, err }, 'host commands of a loop could not be arranged')
    }
  }

  async #arrange(id: string): Promise<void> {
    const { loops, book, arrange, declared } = this.#options
    const loop = await loops.named(id)
    if (loop === undefined) {
      this.#starting.delete(id)
      this.#up.delete(id)
      return await this.#drop(id)
    }
    const grants = await book.of(loop)
    const names = grants.filter(mayRun).map(({ wanted }) => nameOf(wanted.command))
    // First of all, and whatever fails behind it, what was taken back ends.
    if (names.length === 0) this.#gates.get(id)?.close()
    this.#gates.get(id)?.review(grants)
    try {
      await arrange(loops.controlOf(id), [...names, ...(await declared(loops.workdirOf(id).host))])
    } catch (error) {
      // A container that runs although its directory is gone, such as after a wiped runtime directory, has no way out.
      if (errorCode(error) !== 'ENOENT') throw error
      return await this.#drop(id)
    }
    await this.#set(loop, grants)
  }

  async #set(loop: NamedLoop, grants: readonly Grant[]): Promise<void> {
    const known = this.#gates.get(loop.id)
    if (grants.some(mayRun)) {
      const gate = known ?? this.#make(loop.id)
      this.#gates.set(loop.id, gate)
      await gate.open()
      this.#options.runner.warm()
    } else {
      // That of a daemon that was killed would have its callers wait.
      await rm(join(this.#options.loops.controlOf(loop.id), SOCKET), { force: true })
    }
  }

  async #drop(id: string): Promise<void> {
    const gate = this.#gates.get(id)
    this.#gates.delete(id)
    await gate?.end(false)
  }

  #make(id: string): LoopGate {
    const { context, loops, limits, log } = this.#options
    const { host: workdir, inside } = loops.workdirOf(id)
    return new LoopGate({ context, loop: { id, workdir, inside }, control: loops.controlOf(id), limits, log })
  }

  #inBackground(id: string, work: () => Promise<void>): void {
    const log = (err: unknown) =>
      this.#options.log.error({ loop: id, err }, 'host commands of a loop could not be arranged')
    const done = work()
      .catch(log)
      .finally(() => this.#background.delete(done))
    this.#background.add(done)
  }
}

function mayRun({ record }: Grant): boolean {
  return record.decision !== 'deny'
}
