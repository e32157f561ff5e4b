/**
 * Whether a client is there.
 *
 * A client that is stopped or hangs keeps its connection: the kernel takes what is sent to it. So while a connection has
 * `exec/run` in flight, the daemon sends it the request `client/ping`, with the id `ping`, every {@link PING_MS}. Whatever
 * the client sends on that connection is a sign of life: an answer, and an error is one too, or a request. Without any for
 * {@link LOST_MS} the client counts as gone: the daemon says so in an error without id, closes the connection, and ends
 * what runs for it. Time in which the machine or the daemon itself stands still does not count.
 */
import { z } from 'zod'
import { defineMethod, Nothing } from './method.ts'

/** Milliseconds between two questions whether the client is there. */
export const PING_MS = 5000
/** Milliseconds without a sign of life after which a client is gone. */
export const LOST_MS = 60_000

export const presenceSet = defineMethod({
  method: 'presence/set',
  summary: 'Say that this client is about to be stopped, or goes on.',
  description:
    'While `exec/run` is in flight, the daemon sends the request `client/ping` to its client every ' +
    `${PING_MS / 1000} s. Any answer is a sign of life, also an error, and so is whatever else comes on the connection. ` +
    `A client that gives none for ${LOST_MS / 1000} s counts as gone: its connection is closed and its commands are ended. ` +
    'A client that says that it is away is not asked, and keeps both, until it says that it is back or its connection is ' +
    'closed.',
  params: z.strictObject({ away: z.boolean().describe('Whether the client will not answer for a while.') }),
  result: Nothing,
  errors: [],
})
