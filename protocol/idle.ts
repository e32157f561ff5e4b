/**
 * Sleep: a loop that nobody needs is stopped after its window, and started again when it is touched.
 *
 * A loop stays awake as long as somebody holds a lease on it: a command, a job, a terminal, a client, or a hold. When the
 * last lease ends, the window begins; it counts time awake, so a machine that was suspended puts nothing to sleep.
 */
import { z } from 'zod'
import { LeaseInfo, LoopInfo, LoopRef } from './loop.ts'
import { defineMethod } from './method.ts'

/** Bounds of a window, in milliseconds. */
export const IDLE_WINDOW_MS = { min: 100, max: 31_536_000_000 } as const
/** Bounds of a hold, in milliseconds. */
export const HOLD_MS = { min: 1000, max: 2_592_000_000 } as const
/** Bounds of a lease of a client between two renewals, in milliseconds. */
export const LEASE_TTL_MS = { min: 1000, max: 86_400_000 } as const
/** Leases that one connection may hold. */
export const MAX_CLIENT_LEASES = 256
/** Holds that one loop may have. */
export const MAX_HOLDS = 64

export const IdleWindow = z
  .union([z.int().min(IDLE_WINDOW_MS.min).max(IDLE_WINDOW_MS.max), z.literal('never')])
  .describe('Milliseconds without a lease after which a loop is stopped, or `never`.')
export type IdleWindow = z.infer<typeof IdleWindow>

export const IdleAfter = z.strictObject({
  window: IdleWindow,
  from: z
    .enum(['environment', 'loop', 'config', 'default'])
    .describe('Who says so: `LOOPAT_CONTAINER_IDLE_MS`, the loop, the configuration, or nobody.'),
})
export type IdleAfter = z.infer<typeof IdleAfter>

export const IdleNext = z
  .strictObject({
    action: z
      .enum(['asleep', 'sleep', 'stay-awake'])
      .describe('`asleep`: it does not run. `sleep`: it will be stopped. `stay-awake`: it keeps running.'),
    at: z.iso.datetime().nullable().describe('When it will be stopped, if nothing happens; null unless that is known.'),
    because: z.string().describe('One sentence for people.'),
  })
  .describe('What happens next if nobody touches the loop.')
export type IdleNext = z.infer<typeof IdleNext>

const Reason = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((text) => !/\p{Cc}/u.test(text), 'must not contain control characters')
  .describe('Why, for people.')

const Ttl = z
  .int()
  .min(LEASE_TTL_MS.min)
  .max(LEASE_TTL_MS.max)
  .describe('Milliseconds after which the lease ends unless it is renewed.')

const LeaseId = z.string().min(1).max(64).describe('Id of a lease.')

const lookErrors = ['ambiguous_loop', 'loop_archived', 'loop_broken', 'loop_not_found'] as const

export const idleAcquire = defineMethod({
  method: 'idle/acquire',
  summary: 'Keep a loop awake for as long as this connection needs it.',
  description:
    'Takes a lease that ends when it is released, when its time is over, or with the connection. It starts nothing, and ' +
    `a stop that somebody asks for goes on in spite of it. A connection may hold ${MAX_CLIENT_LEASES} leases.`,
  params: z.strictObject({ loop: LoopRef, reason: Reason, ttlMs: Ttl.optional() }),
  result: z.strictObject({ lease: LeaseInfo }),
  errors: lookErrors,
})

export const idleHold = defineMethod({
  method: 'idle/hold',
  summary: 'Keep a loop awake for a while, whoever uses it.',
  description:
    'The hold outlives the connection and the daemon. It starts nothing, and a stop that somebody asks for goes on in ' +
    `spite of it. It ends when its time awake is over, when it is released, and when the loop is archived or removed. A loop may have ${MAX_HOLDS} holds.`,
  params: z.strictObject({
    loop: LoopRef,
    forMs: z.int().min(HOLD_MS.min).max(HOLD_MS.max).describe('How long, in milliseconds.'),
    reason: Reason.default('held by hand'),
  }),
  result: z.strictObject({ hold: LeaseInfo }),
  errors: [...lookErrors, 'storage_failed'],
})

export const idleList = defineMethod({
  method: 'idle/list',
  summary: 'List what keeps loops awake, and when they will sleep.',
  description: 'Has no side effect and asks podman nothing.',
  params: z.strictObject({}),
  result: z.strictObject({
    loops: z.array(
      z.strictObject({
        id: z.string(),
        leases: z.int().describe('Leases held on the loop.'),
        after: IdleAfter,
        next: IdleNext.omit({ because: true }),
      }),
    ),
  }),
  errors: [],
})

export const idleRelease = defineMethod({
  method: 'idle/release',
  summary: 'Give back a lease of this connection, or end holds of a loop.',
  description:
    'Without `lease`, all holds of the loop end. Leases of commands, jobs, terminals and other connections belong to ' +
    'them and are refused with `lease_foreign`.',
  params: z.strictObject({ loop: LoopRef, lease: LeaseId.optional() }),
  result: z.strictObject({ released: z.int().describe('How many ended.') }),
  errors: ['ambiguous_loop', 'lease_foreign', 'lease_not_found', 'loop_not_found', 'storage_failed'],
})

export const idleRenew = defineMethod({
  method: 'idle/renew',
  summary: 'Have a lease of this connection last longer.',
  description: 'The time counts from now. A lease that has ended cannot be renewed.',
  params: z.strictObject({ lease: LeaseId, ttlMs: Ttl }),
  result: z.strictObject({ lease: LeaseInfo }),
  errors: ['lease_foreign', 'lease_not_found'],
})

export const idleSet = defineMethod({
  method: 'idle/set',
  summary: 'Set after how long without use a loop sleeps.',
  description: 'In force at once, from the last activity on. `LOOPAT_CONTAINER_IDLE_MS` of the daemon comes before it.',
  params: z.strictObject({
    loop: LoopRef,
    after: IdleWindow.nullable().describe('Milliseconds, `never`, or null for what the configuration says.'),
  }),
  result: z.strictObject({ after: IdleAfter }),
  errors: ['ambiguous_loop', 'loop_broken', 'loop_not_found', 'storage_failed'],
})

export const idleWhy = defineMethod({
  method: 'idle/why',
  summary: 'Explain why a loop is awake or asleep, and what happens next.',
  description: 'Has no side effect and asks podman nothing while its event stream is alive.',
  params: z.strictObject({ loop: LoopRef }),
  result: z.strictObject({
    loop: LoopInfo,
    after: IdleAfter,
    leases: z.array(LeaseInfo),
    lastActivity: z
      .strictObject({ at: z.iso.datetime(), what: z.string().describe('Such as `exec: make test`.') })
      .nullable()
      .describe('When the loop was last in use, and for what; null when nothing is known.'),
    next: IdleNext,
    failure: z
      .strictObject({
        at: z.iso.datetime(),
        message: z.string(),
        attempts: z.int().positive(),
        retryAt: z.iso.datetime(),
      })
      .nullable()
      .describe('Why the loop could not be stopped when its window was over; null when that did not happen.'),
  }),
  errors: ['ambiguous_loop', 'loop_not_found'],
})
