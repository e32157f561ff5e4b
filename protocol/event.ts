/** Subscriptions to what happens. */
import { z } from 'zod'
import { defineMethod, Nothing } from './method.ts'

export const EventKind = z.enum(['daemon/changed', 'image/progress', 'job/changed', 'loop/changed'])
export type EventKind = z.infer<typeof EventKind>

export const eventSubscribe = defineMethod({
  method: 'event/subscribe',
  summary: 'Be told what happens.',
  description:
    'From the answer on, the named notifications are sent on this connection, each with the id of the subscription. A ' +
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
  }),
  result: z.strictObject({ subscription: z.string() }),
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
