import type { Clock } from '../lib/clock.ts'
import type { LoopContext } from './loop-context.ts'
import { resolveMount } from './mount-fact.ts'

/** Milliseconds for which the answer is believed: metadata may be edited by hand. */
const BELIEVED_MS = 2_000

/** What of the host's own files some loop can write. Every loop counts, running or not. */
export class WritableMounts {
  readonly #context: Pick<LoopContext, 'store' | 'mounts'>
  readonly #clock: Clock
  #known: { readonly places: Promise<readonly string[]>; readonly at: number } | undefined

  constructor(context: Pick<LoopContext, 'store' | 'mounts'>, clock: Clock) {
    this.#context = context
    this.#clock = clock
  }

  /** Real paths of the sources of mounts that are not read-only. */
  async list(): Promise<readonly string[]> {
    const now = this.#clock.monotonicMs()
    if (this.#known === undefined || now - this.#known.at > BELIEVED_MS) this.#known = { places: this.#look(), at: now }
    return await this.#known.places
  }

  /** Mounts may have changed. */
  forget(): void {
    this.#known = undefined
  }

  async #look(): Promise<readonly string[]> {
    const { store, mounts } = this.#context
    const loops = await store.list()
    const asked = loops.flatMap((loop) => (loop.kind === 'readable' ? (loop.meta.mounts ?? []) : []))
    const writable = [...mounts.operator, ...asked].filter(({ readOnly }) => !readOnly)
    const resolved = await Promise.all(writable.map((mount) => resolveMount(mount, mounts)))
    return [...new Set(resolved.flatMap(({ found }) => (found.kind === 'refused' ? [] : [found.path])))]
  }
}
