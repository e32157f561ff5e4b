import type { CheckedParamsOf, LoopInfo, ResultOf } from '@loopatd/protocol'
import { findLoop, type LoopContext } from './loop-context.ts'
import { dueRecreation } from './loop-inspect.ts'
import { vaultOf } from './loop-meta.ts'
import { containerName } from './loop-spec.ts'
import type { StoredLoop } from './loop-store.ts'

/** What a loop shows besides its state while podman does not answer. */
const UNVERIFIED = 'podman does not answer; this is the last known state'

/** How many loops there are. */
export interface LoopCounts {
  readonly total: number
  readonly running: number
  readonly archived: number
  readonly broken: number
}

/** Reads: they wait for no operation, and ask podman nothing while its event stream is alive. */
export class LoopReader {
  readonly #context: LoopContext

  constructor(context: LoopContext) {
    this.#context = context
  }

  /** All loops, newest first, broken ones last. Broken loops count as not archived. */
  async list(archived: CheckedParamsOf<'loop/list'>['archived'], signal: AbortSignal): Promise<LoopInfo[]> {
    const trusted = await this.#context.cache.trusted(signal)
    const loops = (await this.#context.store.list()).map((stored) => this.#show(stored, trusted))
    if (archived === 'include') return loops
    return loops.filter(({ state }) => (state === 'archived') === (archived === 'only'))
  }

  /** One loop with all that is known about it. */
  async get(ref: string, signal: AbortSignal): Promise<ResultOf<'loop/get'>> {
    const { cache, leases, store, workspace } = this.#context
    const trusted = await cache.trusted(signal)
    const stored = await findLoop(this.#context, ref)
    const { directory, workdir, home } = store.paths(stored.id)
    const last = stored.kind === 'readable' ? stored.meta.recreated : undefined
    return {
      loop: this.#show(stored, trusted),
      container: { name: containerName(workspace, stored.id), id: cache.peek(stored.id)?.id ?? null },
      recreation: {
        due: stored.kind === 'broken' ? null : await dueRecreation(this.#context, stored, signal),
        last: last === undefined ? null : { at: last.at, reason: last.reason },
      },
      leases: leases.list(stored.id),
      paths: { directory, workdir, home },
      metadata: (stored.kind === 'readable' ? stored.meta.metadata : undefined) ?? null,
    }
  }

  /** One loop as it is shown. @throws `loop_not_found`, `ambiguous_loop` */
  async look(ref: string, signal: AbortSignal): Promise<LoopInfo> {
    const trusted = await this.#context.cache.trusted(signal)
    return this.#show(await findLoop(this.#context, ref), trusted)
  }

  /** Names of the loops that use a vault of a user. */
  async selecting(user: string, vault: string): Promise<string[]> {
    const loops = await this.#context.store.list()
    const metas = loops.flatMap((stored) => (stored.kind === 'readable' ? [stored.meta] : []))
    return metas.filter((meta) => meta.user === user && vaultOf(meta) === vault).map(({ name }) => name)
  }

  /** Counts by last known state. */
  async counts(): Promise<LoopCounts> {
    const states = (await this.#context.store.list()).map((stored) => this.#context.board.show(stored).state)
    const count = (wanted: LoopInfo['state']) => states.filter((state) => state === wanted).length
    return { total: states.length, running: count('running'), archived: count('archived'), broken: count('broken') }
  }

  #show(stored: StoredLoop, trusted: boolean): LoopInfo {
    const loop = this.#context.board.show(stored)
    const depends = loop.state === 'running' || loop.state === 'stopped'
    return trusted || !depends ? loop : { ...loop, reason: loop.reason ?? UNVERIFIED }
  }
}
