import { randomUUID } from 'node:crypto'
import type { NotificationName, NotificationParamsOf } from '@loopatd/protocol'

/** What is published: the params of a notification, but for the subscription, which each subscriber has its own. */
export type EventOf<N extends NotificationName> = Omit<NotificationParamsOf<N>, 'subscription'>

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
  dispose(): void
}

/** Brings what happens to those who want to know. */
export class EventHub {
  readonly #subscribers = new Map<string, { filter: EventFilter; listener: EventListener }>()

  /** Calls the listener for every event that the filter lets through, from now on. */
  subscribe(filter: EventFilter, listener: EventListener): Subscription {
    const id = randomUUID()
    this.#subscribers.set(id, { filter, listener })
    return { id, dispose: () => void this.#subscribers.delete(id) }
  }

  /**
   * Tells all subscribers.
   * @param about the loop that it is about, when it is about one
   */
  publish<N extends NotificationName>(kind: N, event: EventOf<N>, about: { readonly loopId?: string } = {}): void {
    for (const [subscription, { filter, listener }] of [...this.#subscribers]) {
      if (filter.kinds !== undefined && !filter.kinds.includes(kind)) continue
      if (filter.loopId !== undefined && filter.loopId !== about.loopId) continue
      listener(kind, { subscription, ...event })
    }
  }
}
