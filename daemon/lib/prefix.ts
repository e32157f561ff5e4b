/** The first bytes of what it is given. It holds no more than that, and grows as it is needed. */
export class Prefix {
  readonly #capacity: number
  #store: Buffer = Buffer.alloc(0)
  #length = 0

  /** @param capacity in bytes */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** What is held. Later bytes do not change it. */
  get bytes(): Buffer {
    return this.#store.subarray(0, this.#length)
  }

  /** Takes bytes, which are copied. @returns those that have no room */
  push(bytes: Buffer): Buffer {
    const fitting = bytes.subarray(0, this.#capacity - this.#length)
    const length = this.#length + fitting.length
    if (length > this.#store.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.#capacity, Math.max(length, 2 * this.#store.length)))
      this.#store.copy(grown, 0, 0, this.#length)
      this.#store = grown
    }
    fitting.copy(this.#store, this.#length)
    this.#length = length
    return bytes.subarray(fitting.length)
  }
}
