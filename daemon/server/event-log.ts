import { type EventGap, KEPT_EVENTS, type NotificationName } from '@loopatd/protocol'

/** An event as it happened. */
export interface PastEvent {
  readonly number: number
  readonly kind: NotificationName
  readonly params: object
  readonly loopId: string | undefined
}

/** What happened after a cursor. */
export interface Replay {
  readonly events: readonly PastEvent[]
  readonly gap: EventGap | null
}

/** The last events of this run of the daemon, numbered. */
export class EventLog {
  readonly #epoch: string
  readonly #kept: number
  #events: PastEvent[] = []
  #last = 0

  /**
   * @param epoch names this run, eight hexadecimal digits
   * @param kept how many events are kept at least
   */
  constructor(epoch: string, kept = KEPT_EVENTS) {
    this.#epoch = epoch
    this.#kept = kept
  }

  /** Cursor of an event; default: of the last one. */
  cursor(number: number = this.#last): string {
    return `${this.#epoch}:${number}`
  }

  /** Numbers an event and keeps it. */
  add(event: Omit<PastEvent, 'number'>): PastEvent {
    this.#last += 1
    const numbered = { ...event, number: this.#last }
    this.#events.push(numbered)
    // Cut in one go now and then: taking the first away each time would move all the others.
    if (this.#events.length >= 2 * this.#kept) this.#events = this.#events.slice(-this.#kept)
    return numbered
  }

  /** What happened after a cursor, or the number of an event of this run. */
  since(cursor: string): Replay {
    const [, epoch = this.#epoch, text] = /^(?:([0-9a-f]{8}):)?(\d+)$/.exec(cursor) ?? []
    const number = Number(text)
    if (epoch !== this.#epoch) return { events: this.#after(0), gap: { missed: null, reason: 'daemon-restarted' } }
    if (!(number <= this.#last)) return { events: [], gap: { missed: null, reason: 'unknown-cursor' } }
    const events = this.#after(number)
    const missed = this.#last - number - events.length
    return { events, gap: missed === 0 ? null : { missed, reason: 'too-old' } }
  }

  /** At most as many as are promised, so that nobody's queue has to hold more. */
  #after(number: number): PastEvent[] {
    return this.#events.filter((event) => event.number > number).slice(-this.#kept)
  }
}
