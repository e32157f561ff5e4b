/** The last bytes of what it is given. It holds no more than that, and grows as it is needed. */
export class Ring {
  readonly #capacity: number
  #bytes: Buffer = Buffer.alloc(0)
  #start = 0
  #length = 0

  /** @param capacity in bytes */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get length(): number {
    return this.#length
  }

  /** How many of the oldest bytes, those that come included, have to go when so many more come. */
  excess(length: number): number {
    return Math.max(0, this.#length + length - this.#capacity)
  }

  /** Takes bytes, which are copied; the oldest go. */
  push(bytes: Buffer): void {
    const excess = this.excess(bytes.length)
    const gone = Math.min(excess, this.#length)
    this.#length -= gone
    this.#start = this.#length === 0 ? 0 : (this.#start + gone) % this.#bytes.length
    this.#append(bytes.subarray(excess - gone))
  }

  /** A copy of all that is held, oldest first. */
  read(): Buffer {
    return Buffer.concat(this.#parts(this.#length))
  }

  /** Place of the last such byte among the oldest; -1 when there is none. */
  lastIndexOf(byte: number, among: number): number {
    const [first, second] = this.#parts(Math.min(among, this.#length))
    const found = second.lastIndexOf(byte)
    return found < 0 ? first.lastIndexOf(byte) : first.length + found
  }

  #parts(count: number): [Buffer, Buffer] {
    const first = this.#bytes.subarray(this.#start, this.#start + count)
    return [first, this.#bytes.subarray(0, count - first.length)]
  }

  #append(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#reserve(this.#length + bytes.length)
    const end = (this.#start + this.#length) % this.#bytes.length
    const copied = bytes.copy(this.#bytes, end)
    bytes.copy(this.#bytes, 0, copied)
    this.#length += bytes.length
  }

  #reserve(size: number): void {
    if (size <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.min(this.#capacity, Math.max(size, 2 * this.#bytes.length)))
    const [first, second] = this.#parts(this.#length)
    second.copy(grown, first.copy(grown))
    this.#bytes = grown
    this.#start = 0
  }
}
