/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Random {
  readonly seed: number
  #state: number

  constructor(seed: number) {
    this.seed = seed
    this.#state = seed
  }

  /** From the named variable, else a new one; says which, so that a failure can be repeated. */
  static fromEnvironment(variable: string): Random {
    const seed = Number(process.env[variable] ?? Math.floor(Math.random() * 2 ** 31))
    console.log(`${variable}=${seed}`)
    return new Random(seed)
  }

  /** A whole number from 0 to below the bound. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }

  /** One of them. @param all not empty */
  pick<T>(all: readonly T[]): T {
    const found = all[this.below(all.length)]
    if (found === undefined) throw new Error('nothing to pick from')
    return found
  }
}
