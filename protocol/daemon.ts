/** The daemon itself. */
import { z } from 'zod'
import { EventCursor } from './event.ts'
import { defineMethod, defineNotification, Nothing } from './method.ts'

export const EngineState = z.strictObject({
  state: z.enum(['up', 'down']),
  reason: z.string().nullable().describe('Why it is down; while it is up, why the socket that was chosen is not used.'),
  socket: z.string().nullable().describe('Path of the podman socket in use.'),
  owned: z.boolean().describe('Whether the podman service was started by loopatd.'),
  version: z.string().nullable().describe('Version of podman, once it has answered.'),
})
export type EngineState = z.infer<typeof EngineState>

export const daemonStatus = defineMethod({
  method: 'daemon/status',
  summary: 'Show what the daemon is, serves and can do.',
  description: 'Has no side effect and asks podman nothing.',
  params: z.strictObject({}),
  result: z.strictObject({
    pid: z.int(),
    version: z.string(),
    protocolVersion: z.int(),
    workspace: z.string(),
    home: z.string().describe('Home directory of the workspace.'),
    socket: z.string().describe('Path of the socket that this daemon listens on.'),
    log: z.string().describe('Path of the log file.'),
    startedAt: z.iso.datetime(),
    engine: EngineState,
    storage: z.strictObject({
      writable: z.boolean().describe('False while metadata cannot be written; running loops stay usable.'),
      reason: z.string().nullable(),
    }),
    loops: z.strictObject({
      total: z.int(),
      running: z.int(),
      archived: z.int(),
      broken: z.int(),
    }),
    clients: z.int().describe('Open connections, this one included.'),
    leases: z
      .int()
      .describe('Leases on all loops of those who have something running inside: what would end with the loops.'),
    memoryBytes: z.int().describe('Resident memory of the daemon.'),
  }),
  errors: [],
})

export const daemonShutdown = defineMethod({
  method: 'daemon/shutdown',
  summary: 'Stop the daemon; loops keep running.',
  description:
    'Answers at once. Then takes no new work, waits up to the drain deadline for requests in flight, cancels the rest ' +
    'and exits. Loops are stopped only when the configuration says `daemon.stop_loops = true`.',
  params: z.strictObject({}),
  result: Nothing,
  errors: [],
})

export const daemonChanged = defineNotification({
  notification: 'daemon/changed',
  summary: 'podman became available or unavailable.',
  description: 'Sent to every subscription that asked for it when the state of the engine changes.',
  params: z.strictObject({ subscription: z.string(), cursor: EventCursor, engine: EngineState }),
})
