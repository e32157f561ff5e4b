import { LOST_MS, PING_MS } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'

/**
 * Looks without a sign of life after which a client is gone; the first look after the last sign still sees that one. They
 * are counted, and not the time: so it takes a daemon that runs to find somebody missing, whatever stood still meanwhile.
 */
const LOOKS = LOST_MS / PING_MS - 1

/** What a look at a client leads to: nothing, a question, or its end. */
export type Sight = 'fine' | 'ask' | 'gone'

/** What is known of whether the client of a connection is there. It matters only while commands run for it. */
export class Presence {
  #commands = 0
  #isAway = false
  /** Bytes that had come from the client at the last look. */
  #received = 0
  /** Looks in a row that saw no new ones. */
  #silent = 0
  /** One question at a time is enough: nothing is lost on the way. */
  #isAsked = false

  /** A command runs for the client. @returns tells that it has ended; once only */
  watch(): () => void {
    this.#commands += 1
    return () => {
      this.#commands -= 1
    }
  }

  /** The client says that it will be silent for a while, or is back. */
  setAway(isAway: boolean): void {
    this.#isAway = isAway
  }

  /** Takes the answer to a question. @returns false when none was asked */
  answered(): boolean {
    const wasAsked = this.#isAsked
    this.#isAsked = false
    return wasAsked
  }

  /** Called every {@link PING_MS}. @param received bytes that have come from the client so far */
  look(received: number): Sight {
    const isHeard = received !== this.#received
    this.#received = received
    if (this.#commands === 0 || this.#isAway) {
      this.#silent = 0
      return 'fine'
    }
    this.#silent = isHeard ? 0 : this.#silent + 1
    if (this.#silent >= LOOKS) return 'gone'
    if (this.#isAsked) return 'fine'
    this.#isAsked = true
    return 'ask'
  }
}

/** Looks at everybody again and again, until the signal aborts. */
export async function callRoll(
  everybody: Iterable<{ look(): void }>,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    try {
      await clock.sleep(PING_MS, signal)
    } catch (error) {
      if (signal.aborted) return
      throw error
    }
    for (const one of everybody) one.look()
  }
}
