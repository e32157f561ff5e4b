import { mayBeComplaint } from './error.ts'

/** A runtime's complaint is shorter than this; what is longer is output of the command. */
const MAX_BYTES = 16 * 1024

/**
 * Holds back the first output of a command while it may be the complaint of a runtime that could not start it, so that
 * the owner gets an error and not the error's text as output.
 */
export class ComplaintFilter {
  readonly #held: Buffer[] = []
  #heldBytes = 0
  #decided = false

  /** What is held. */
  get text(): string {
    return Buffer.concat(this.#held).toString()
  }

  /**
   * Looks at a piece of output.
   * @param canComplain whether runtimes complain on this stream
   * @returns whether it is held; when not, {@link ComplaintFilter.release} gives what is to go before it
   */
  holds(bytes: Buffer, canComplain: boolean): boolean {
    if (this.#decided) return false
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
    if (canComplain && this.#heldBytes < MAX_BYTES && mayBeComplaint(this.text)) return true
    this.#held.pop()
    this.#decided = true
    return false
  }

  /** Gives up what is held. */
  release(): Buffer {
    this.#decided = true
    return Buffer.concat(this.#held.splice(0))
  }
}
