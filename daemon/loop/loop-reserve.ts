import { LoopatError } from '@loopatd/protocol'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import { uniqueName } from './loop-name.ts'
import type { LoopStore } from './loop-store.ts'

/** A name that nobody else gets until it is released. */
export interface NameReservation {
  readonly name: string
  /** Gives the name back; by then a loop has it, or nobody. Idempotent. */
  release(): void
}

/** Gives out names, so that loops made at the same time never get the same one (rule L-3b). */
export class NameDesk {
  readonly #store: Pick<LoopStore, 'list'>
  readonly #reserved = new Set<string>()
  readonly #turn = new KeyedMutex()

  constructor(store: Pick<LoopStore, 'list'>) {
    this.#store = store
  }

  /**
   * Reserves a name.
   * @param wanted the name that it must be; undefined for the fall-back or, when that is taken, one made from it
   * @param fallback a legal name
   * @param except id of a loop whose name does not count
   * @throws `name_taken`
   */
  async reserve(wanted: string | undefined, fallback: string, except?: string): Promise<NameReservation> {
    return await this.#turn.run('', async () => {
      const taken = await this.#taken(except)
      if (wanted !== undefined && taken.has(wanted)) {
        throw new LoopatError('name_taken', `another loop has the name "${wanted}"`, {
          next: 'Choose another name, or rename that loop: loopctl rename',
          details: { name: wanted },
        })
      }
      const name = wanted ?? uniqueName(fallback, taken)
      this.#reserved.add(name)
      return { name, release: () => void this.#reserved.delete(name) }
    })
  }

  async #taken(except: string | undefined): Promise<Set<string>> {
    const taken = new Set(this.#reserved)
    for (const loop of await this.#store.list()) {
      if (loop.kind === 'readable' && loop.id !== except) taken.add(loop.meta.name)
    }
    return taken
  }
}
