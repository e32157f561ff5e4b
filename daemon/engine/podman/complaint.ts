import { mayBeComplaint, mayBeCutOff } from './error.ts'

/** What podman and its runtime say about themselves is shorter than this; what is longer is output of the command. */
const MAX_BYTES = 16 * 1024

/**
 * Holds back output that may not be the command's: the runtime's complaint that it could not start it, in the
 * beginning, and podman's that it lost its monitor, at the end. The owner gets an error instead of such text.
 */
export class ComplaintFilter {
  #held: Buffer = Buffer.alloc(0)
  #hasPassed = false

  /** What is held. */
  get text(): string {
    return this.#held.toString()
  }

  /**
   * Looks at a piece of output.
   * @param canComplain whether podman complains on this stream
   * @returns what may go on: what was held before first, and whether the piece itself is held now
   */
  take(bytes: Buffer, canComplain: boolean): { released: Buffer; isHeld: boolean } {
    const together = Buffer.concat([this.#held, bytes])
    if (canComplain && this.#isSuspicious(together)) {
      this.#held = together
      return { released: Buffer.alloc(0), isHeld: true }
    }
    const released = this.release()
    this.#hasPassed = true
    if (!canComplain || !this.#isSuspicious(bytes)) return { released, isHeld: false }
    this.#held = Buffer.from(bytes)
    return { released, isHeld: true }
  }

  /** Gives up what is held. */
  release(): Buffer {
    const released = this.#held
    this.#held = Buffer.alloc(0)
    return released
  }

  #isSuspicious(bytes: Buffer): boolean {
    if (bytes.length > MAX_BYTES) return false
    const text = bytes.toString()
    return mayBeCutOff(text) || (!this.#hasPassed && mayBeComplaint(text))
  }
}
