/** The effective specification of a loop: what its container is made of, and where each part comes from. */
import { z } from 'zod'
import { LoopRef } from './loop.ts'
import { LoopDns, LoopLimits, LoopPersistence } from './loop-spec.ts'
import { defineMethod } from './method.ts'

const origin = z
  .enum(['built-in', 'operator', 'loop', 'vault'])
  .describe('`built-in`: every loop has it. `operator`: from the configuration. `loop`: its own. `vault`: its vault.')

const mount = {
  source: z.string().describe('Path on the host.'),
  target: z.string().describe('Path inside.'),
  origin,
}

export const loopInspect = defineMethod({
  method: 'loop/inspect',
  summary: 'Show what the container of a loop is made of.',
  description:
    'Says what the next container would be, computed from metadata, configuration and vault as they are now. Has no ' +
    'side effect and asks podman nothing while its event stream is alive. Values of variables are never shown.',
  params: z.strictObject({ loop: LoopRef }),
  result: z.strictObject({
    id: z.string(),
    name: z.string(),
    image: z
      .strictObject({
        wanted: z.string().nullable().describe('The image asked for; null for the sandbox image of the workspace.'),
        id: z.string().nullable().describe('Its id as far as it is known; null before it was first looked for.'),
        used: z.string().nullable().describe('Id of the image that the container was made from; null without one.'),
      })
      .describe('Compared by id.'),
    user: z.string().describe('Whose vaults and personal files it uses.'),
    vault: z.string(),
    mounts: z.array(
      z.strictObject({
        ...mount,
        readOnly: z.boolean(),
        row: z.int().describe('Row of the table of mounts in the documentation.'),
      }),
    ),
    skipped: z
      .array(z.strictObject({ ...mount, why: z.string() }))
      .describe('Mounts that were asked for and are left out.'),
    env: z
      .array(z.strictObject({ name: z.string(), origin }))
      .describe('Names of the variables of every command, sorted; where two set one, the one that counts.'),
    dns: LoopDns.describe("Name servers; empty for those of the loop's network."),
    limits: LoopLimits,
    persistence: LoopPersistence,
    knowledgeRw: z.boolean(),
    mountAllLoops: z.boolean(),
    network: z.string(),
    hash: z
      .strictObject({
        wanted: z.string().describe('Hash of the inputs below.'),
        used: z.string().nullable().describe('Hash that the container was made with; null without one.'),
        inputs: z.record(z.string(), z.json()).describe('Everything that takes a new container when it changes.'),
      })
      .describe('A container with another hash is made anew at its next start.'),
    drift: z.string().nullable().describe('Why the next start makes the container anew; null when it does not.'),
  }),
  errors: ['ambiguous_loop', 'loop_broken', 'loop_not_found', 'vault_invalid', 'vault_not_found'],
})
