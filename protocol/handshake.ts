/** The handshake: the first request on every connection. */
import { z } from 'zod'
import { defineMethod } from './method.ts'
import { PROTOCOL_VERSION } from './version.ts'

export const initialize = defineMethod({
  method: 'initialize',
  summary: 'Agree on a protocol version.',
  description:
    'Must be the first request on a connection and is accepted once. The daemon serves the current protocol version and ' +
    `the one before it (current: ${PROTOCOL_VERSION}) and answers with the version it will speak, which is the client's. ` +
    'Any other version is refused with `protocol_unsupported`, whose details list the versions that are served.',
  params: z.strictObject({
    protocolVersion: z.int().positive().describe('The version that the client speaks.'),
    client: z
      .strictObject({
        name: z.string().min(1).max(64).describe('Name of the program, for the log.'),
        version: z.string().min(1).max(64).describe('Version of the program, for the log.'),
      })
      .describe('Who connects.'),
  }),
  result: z.strictObject({
    protocolVersion: z.int().positive().describe('The version that the daemon will speak on this connection.'),
    server: z.strictObject({ name: z.string(), version: z.string() }),
    workspace: z.string().describe('Name of the workspace that this daemon serves.'),
    capabilities: z.array(z.string()).describe('Names of the methods that this daemon serves, sorted.'),
  }),
  errors: ['protocol_unsupported'],
})
