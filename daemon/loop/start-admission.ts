import type { OnProgress } from '../lib/progress.ts'
import type { StartAdmission } from './loop-options.ts'
import { StartGate } from './start-gate.ts'

/** What an admission is made of. */
export interface GatedAdmissionOptions {
  /** How many loops may start at the same time. */
  readonly places: number
  /**
   * Puts others to sleep when too many run. Whoever has a lease is left alone.
   * @returns to be disposed when the loop runs, or does not
   */
  readonly makeRoom: (
    loop: { readonly id: string; readonly name: string },
    onProgress: OnProgress,
    signal: AbortSignal,
  ) => Promise<Disposable>
}

/** Lets few loops start at the same time, persons' first, and makes room for each. */
export class GatedAdmission implements StartAdmission {
  readonly #gate: StartGate
  readonly #makeRoom: GatedAdmissionOptions['makeRoom']
  /** How many persons wait, by loop. */
  readonly #persons = new Map<string, number>()

  constructor({ places, makeRoom }: GatedAdmissionOptions) {
    this.#gate = new StartGate(places)
    this.#makeRoom = makeRoom
  }

  async enter(
    { id, name, isInteractive, onProgress }: Parameters<StartAdmission['enter']>[0],
    signal: AbortSignal,
  ): Promise<Disposable> {
    const isWaitedFor = isInteractive || this.#persons.has(id)
    const place = await this.#gate.enter({ key: id, isInteractive: isWaitedFor, onProgress }, signal)
    try {
      const room = await this.#makeRoom({ id, name }, onProgress, signal)
      return {
        [Symbol.dispose]: () => {
          room[Symbol.dispose]()
          place[Symbol.dispose]()
        },
      }
    } catch (error) {
      place[Symbol.dispose]()
      throw error
    }
  }

  promote(id: string): Disposable {
    this.#count(id, 1)
    this.#gate.promote(id)
    return { [Symbol.dispose]: () => this.#count(id, -1) }
  }

  #count(id: string, change: 1 | -1): void {
    const count = (this.#persons.get(id) ?? 0) + change
    if (count > 0) this.#persons.set(id, count)
    else this.#persons.delete(id)
  }
}
