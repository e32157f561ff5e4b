/**
 * Subscriptions to what happens.
 *
 * Every event has a number; numbers of one run of the daemon follow each other without a hole. A run is named by its
 * epoch, and `epoch:number` is the cursor that each notification carries. A client that was away names the last cursor
 * it saw and gets what came after, as far as the daemon still has it; otherwise it is told of the gap.
 */
import { z } from 'zod'
import { defineMethod, Nothing } from './method.ts'

export const EventKind = z.enum([
  'daemon/changed',
  'host/approvalRequested',
  'host/approvalSettled',
  'image/progress',
  'job/changed',
  'loop/changed',
])
export type EventKind = z.infer<typeof EventKind>

/** Events that a daemon keeps for those who come back. */
export const KEPT_EVENTS = 2000

export const EventCursor = z
  .string()
  .regex(/^[0-9a-f]{8}:\d{1,15}$/)
  .describe('Names an event: the epoch, which is the run of the daemon, and the number of the event in it.')

export const EventGap = z
  .strictObject({
    missed: z.int().positive().nullable().describe('How many events are lost; null when nobody knows.'),
    reason: z.enum(['daemon-restarted', 'too-old', 'unknown-cursor']),
  })
  .describe('What happened since the last event that the client saw, and cannot be told any more.')
export type EventGap = z.infer<typeof EventGap>

export const eventSubscribe = defineMethod({
  method: 'event/subscribe',
  summary: 'Be told what happens.',
  description:
    'From the answer on, the named notifications are sent on this connection, each with the id of the subscription. With ' +
    `\`since\`, those after that one come first, in order, as far as the daemon keeps them (${KEPT_EVENTS}). A ` +
    'subscription ends with `event/unsubscribe` or with the connection. A client that does not read is disconnected ' +
    'when its queue is full.',
  params: z.strictObject({
    kinds: z.array(EventKind).min(1).max(8).optional().describe('Default: all.'),
    loop: z
      .string()
      .min(1)
      .max(64)
      .optional()
      .describe('Only events of this loop (a loop reference); default: all loops.'),
    since: z
      .string()
      .regex(/^(?:[0-9a-f]{8}:)?\d{1,15}$/, 'must be a cursor, or the number of an event')
      .optional()
      .describe(
        'The last event that was seen: a cursor, or a number of this run of the daemon. Default: none is replayed.',
      ),
  }),
  result: z.strictObject({
    subscription: z.string(),
    cursor: EventCursor.describe('The last event before the subscription. Those after it will be sent.'),
    gap: EventGap.nullable().describe('Null when nothing was missed since `since`, or nothing was asked for.'),
  }),
  errors: ['ambiguous_loop', 'loop_not_found'],
})

export const eventUnsubscribe = defineMethod({
  method: 'event/unsubscribe',
  summary: 'End a subscription.',
  description: 'Ending one that does not exist does nothing.',
  params: z.strictObject({ subscription: z.string().min(1).max(64).describe('Id from `event/subscribe`.') }),
  result: Nothing,
  errors: [],
})
