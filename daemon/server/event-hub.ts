import { randomBytes, randomUUID } from 'node:crypto'
import type { EventGap, NotificationName, NotificationParamsOf } from '@loopatd/protocol'
import { EventLog, type PastEvent } from './event-log.ts'

/** What is published: the params of a notification, but for the subscription, which each subscriber has its own, and the cursor. */
export type EventOf<N extends NotificationName> = Omit<NotificationParamsOf<N>, 'subscription' | 'cursor'>

/** Which events a subscriber wants. */
export interface EventFilter {
  /** Undefined: all kinds. */
  readonly kinds: readonly NotificationName[] | undefined
  /** Id of the only loop whose events are wanted; undefined: all loops, and what is about none. */
  readonly loopId: string | undefined
}

/** Takes an event. Must not throw and must not wait: whoever is behind it bounds its own queue. */
export type EventListener = (kind: NotificationName, params: object) => void

/** A subscription; ends once. */
export interface Subscription {
  readonly id: string
  /** The last event before the subscription. */
  readonly cursor: string
  /** What cannot be told of what was asked for. */
  readonly gap: EventGap | null
  /** Tells what was asked for, and from then on what happens; before, that waits. */
  begin(): void
  dispose(): void
}

interface Subscriber {
  readonly filter: EventFilter
  readonly listener: EventListener
  /** Events that wait for the beginning; undefined when it has begun. */
  waiting: PastEvent[] | undefined
}

/** Brings what happens to those who want to know. */
export class EventHub {
  readonly #subscribers = new Map<string, Subscriber>()
  readonly #log: EventLog

  /** @param log default: one of a new epoch */
  constructor(log = new EventLog(randomBytes(4).toString('hex'))) {
    this.#log = log
  }

  /**
   * Calls the listener for every event that the filter lets through, from now on.
   * @param since the last event that was seen, when those after it are wanted, too
   */
  subscribe(filter: EventFilter, listener: EventListener, since?: string): Subscription {
    const id = randomUUID()
    const cursor = this.#log.cursor()
    const { events, gap } = since === undefined ? { events: [], gap: null } : this.#log.since(since)
    const subscriber: Subscriber = { filter, listener, waiting: [...events] }
    this.#subscribers.set(id, subscriber)
    const begin = () => {
      const waiting = subscriber.waiting ?? []
      subscriber.waiting = undefined
      for (const event of waiting) if (this.#subscribers.has(id)) this.#tell(id, subscriber, event)
    }
    return { id, cursor, gap, begin, dispose: () => void this.#subscribers.delete(id) }
  }

  /**
   * Tells all subscribers.
   * @param about the loop that it is about, when it is about one
   */
  publish<N extends NotificationName>(
    kind: N,
    params: EventOf<N>,
    { loopId }: { readonly loopId?: string } = {},
  ): void {
    const event = this.#log.add({ kind, params, loopId })
    for (const [id, subscriber] of [...this.#subscribers]) {
      if (subscriber.waiting === undefined) this.#tell(id, subscriber, event)
      else subscriber.waiting.push(event)
    }
  }

  #tell(subscription: string, { filter, listener }: Subscriber, { kind, params, loopId, number }: PastEvent): void {
    if (filter.kinds !== undefined && !filter.kinds.includes(kind)) return
    if (filter.loopId !== undefined && filter.loopId !== loopId) return
    listener(kind, { subscription, cursor: this.#log.cursor(number), ...params })
  }
}
