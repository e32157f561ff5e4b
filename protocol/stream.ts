/**
 * Raw streams: bytes beside JSON-RPC.
 *
 * A client asks for a stream with `stream/open`, connects a second time to the same socket, and sends
 * `STREAM <token>\n` as its first bytes. From then on both sides send frames (see `frame.ts`). The client names the
 * stream in the request that uses it, `exec/run` for one. The daemon closes the connection when all output is sent.
 * stdin is subject to a window, `STREAM_WINDOW_BYTES` in `frame.ts`. Losing the connection ends what uses the stream.
 */
import { z } from 'zod'
import { defineMethod } from './method.ts'

/** How long a token waits for its connection, in milliseconds. */
export const STREAM_TOKEN_MS = 10_000

export const streamOpen = defineMethod({
  method: 'stream/open',
  summary: 'Ask for a raw stream.',
  description:
    'The token is good for one connection within its life time. The stream belongs to the connection that asked for it: ' +
    'no other can use it, and it is closed with that connection.',
  params: z.strictObject({}),
  result: z.strictObject({
    stream: z.string().describe('Id to name the stream in other requests.'),
    token: z.string().describe('Secret that the second connection begins with.'),
    expiresMs: z.int().describe('Milliseconds within which the second connection must be made.'),
  }),
  errors: [],
})
