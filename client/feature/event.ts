import type { EventGap, NotificationName, NotificationParamsOf } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol/error'
import type { NotificationListener } from '../rpc.ts'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** Events that a subscription holds for its reader; one that falls further behind ends with an error. */
const MAX_WAITING = 10_000

/** What happened: the params of the notification of that name, without the subscription. */
export type LoopatEvent = {
  readonly [N in NotificationName]: { readonly kind: N } & Omit<NotificationParamsOf<N>, 'subscription'>
}[NotificationName]

/**
 * Events as they come. One reader at a time. Leaving the loop (`break`) ends the subscription; losing the connection
 * ends it with an error.
 */
export interface EventSubscription extends AsyncIterableIterator<LoopatEvent>, AsyncDisposable {
  /** The last event before the subscription: what to name in `since` when no event comes. */
  readonly cursor: string
  /** What happened since `since` and cannot be told any more; null when nothing was missed. */
  readonly gap: EventGap | null
  /** Ends the subscription; the reader sees the end. Idempotent. */
  close(): Promise<void>
}

/** What the feature needs of the connection. */
export interface EventSource {
  readonly call: Call
  readonly onNotification: (listener: NotificationListener) => () => void
  readonly closed: Promise<LoopatError>
}

/** Subscriptions to what happens; see `protocol/event.ts`. */
export class EventFeature {
  readonly #source: EventSource

  constructor(source: EventSource) {
    this.#source = source
  }

  /**
   * Subscribes; from the moment this resolves no event is missed. With `since`, the cursor of the last event that was seen,
   * what happened after it comes first; `gap` of the subscription tells what is lost.
   * @throws LoopatError `loop_not_found`, `too_many_requests`
   */
  async subscribe(
    params: RequestParams<'event/subscribe'> = {},
    options?: OptionsOf<'event/subscribe'>,
  ): Promise<EventSubscription> {
    const { call, onNotification, closed } = this.#source
    // An answer settles its promise before the next message is dispatched, so nothing can come before this listens.
    const { subscription, cursor, gap } = await call('event/subscribe', params, options)
    const queue = new EventQueue({ cursor, gap }, async () => {
      stopListening()
      await call('event/unsubscribe', { subscription })
    })
    const stopListening = onNotification((method, notification) => {
      const event = toEvent(method, notification, subscription)
      if (event !== undefined) queue.push(event)
    })
    void closed.then((reason) => queue.fail(reason))
    return queue
  }
}

function toEvent(method: string, params: unknown, wanted: string): LoopatEvent | undefined {
  if (typeof params !== 'object' || params === null || !('subscription' in params)) return undefined
  const { subscription, ...rest } = params
  // The daemon sends what the contract says; the client does not load the schemas to check that again.
  return subscription === wanted ? ({ kind: method, ...rest } as LoopatEvent) : undefined
}

/** Holds events until they are read. */
class EventQueue implements EventSubscription {
  readonly cursor: string
  readonly gap: EventGap | null
  readonly #waiting: LoopatEvent[] = []
  readonly #unsubscribe: () => Promise<void>
  #wake: (() => void) | undefined
  #error: LoopatError | undefined
  #ended: Promise<void> | undefined

  constructor({ cursor, gap }: Pick<EventSubscription, 'cursor' | 'gap'>, unsubscribe: () => Promise<void>) {
    this.cursor = cursor
    this.gap = gap
    this.#unsubscribe = unsubscribe
  }

  push(event: LoopatEvent): void {
    this.#waiting.push(event)
    if (this.#waiting.length > MAX_WAITING) {
      const rule = `more than ${MAX_WAITING} events were not read in time`
      this.fail(new LoopatError('too_many_requests', rule, { next: 'Read faster, or subscribe to fewer kinds.' }))
      void this.close()
    }
    this.#wake?.()
  }

  fail(error: LoopatError): void {
    if (this.#ended === undefined) this.#error ??= error
    this.#wake?.()
  }

  async next(): Promise<IteratorResult<LoopatEvent, undefined>> {
    for (;;) {
      const event = this.#ended === undefined ? this.#waiting.shift() : undefined
      if (event !== undefined) return { value: event, done: false }
      if (this.#error !== undefined) throw this.#error
      if (this.#ended !== undefined) return { value: undefined, done: true }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async return(): Promise<IteratorResult<LoopatEvent, undefined>> {
    await this.close()
    return { value: undefined, done: true }
  }

  close(): Promise<void> {
    this.#ended ??= this.#end()
    this.#wake?.()
    return this.#ended
  }

  async #end(): Promise<void> {
    this.#waiting.length = 0
    try {
      await this.#unsubscribe()
    } catch (error) {
      // With the connection the subscription is gone as well.
      if (!(error instanceof LoopatError && error.code !== 'internal')) throw error
    }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
