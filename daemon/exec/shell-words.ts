/** What a shell says is shorter; more than this is output of a command. */
const MAX_WORDS = 16_384

/** Keeps what a shell says itself, which begins with a marker, out of the output of the command that it was to become. */
export class ShellWords {
  readonly #marker: Buffer
  #begun = Buffer.alloc(0)
  #isOutput = false

  /** @param marker what the shell's words begin with */
  constructor(marker: string) {
    this.#marker = Buffer.from(marker)
  }

  /** The words of the shell so far; empty when it said none. */
  get held(): string {
    return this.#isOutput ? '' : this.#begun.toString().slice(this.#marker.length)
  }

  /** Takes output. @returns what of it is the command's; empty while that is not known */
  filter(chunk: Buffer): Buffer {
    if (this.#isOutput) return chunk
    this.#begun = Buffer.concat([this.#begun, chunk])
    if (this.#begun.length <= MAX_WORDS && this.#mayBeWords()) return Buffer.alloc(0)
    return this.#open()
  }

  /** There is no more. @returns what was held back, when it was no words of the shell */
  end(): Buffer {
    return this.#isOutput || this.#begun.length >= this.#marker.length ? Buffer.alloc(0) : this.#open()
  }

  #mayBeWords(): boolean {
    const length = Math.min(this.#begun.length, this.#marker.length)
    return this.#begun.subarray(0, length).equals(this.#marker.subarray(0, length))
  }

  #open(): Buffer {
    this.#isOutput = true
    return this.#begun
  }
}
