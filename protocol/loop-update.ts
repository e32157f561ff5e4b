/** Changing what a loop's container is made from: what a change would do, and doing it. */
import { z } from 'zod'
import { ImageName } from './image.ts'
import { LeaseInfo, LoopInfo, LoopRef } from './loop.ts'
import { LoopDns, LoopLimits, LoopMount, LoopPersistence, MAX_MOUNTS } from './loop-spec.ts'
import { defineMethod, ProgressToken } from './method.ts'
import { EnvName, EnvValue, VaultName } from './vault.ts'

/** What is to be different. What is not named stays as it is. */
const wishes = {
  image: ImageName.nullable().optional().describe('Image to use; null for the sandbox image of the workspace.'),
  vault: VaultName.optional().describe('Vault to select.'),
  mounts: z
    .array(LoopMount)
    .max(MAX_MOUNTS)
    .optional()
    .describe('Mounts to add; one with the same target is replaced.'),
  removeMounts: z
    .array(z.string().min(1).max(4096))
    .max(MAX_MOUNTS)
    .optional()
    .describe('Targets of mounts of this loop to take away.'),
  dns: LoopDns.optional().describe('Name servers; none for those of the network.'),
  limits: z
    .strictObject({
      memoryBytes: LoopLimits.shape.memoryBytes.nullable(),
      cpus: LoopLimits.shape.cpus.nullable(),
      pids: LoopLimits.shape.pids.nullable(),
    })
    .partial()
    .optional()
    .describe('Limits to set; null takes one away.'),
  persistence: LoopPersistence.optional(),
  knowledgeRw: z.boolean().optional().describe('Whether the loop may write its knowledge.'),
  env: z.record(EnvName, EnvValue.nullable()).optional().describe('Plain variables to set; null takes one away.'),
}

export const LoopChangeEffect = z
  .enum(['live', 'next-start', 'recreate'])
  .describe(
    '`live`: in force from the next command on. `next-start`: in force when the loop starts next. `recreate`: the ' +
      'running container makes way for a new one.',
  )
export type LoopChangeEffect = z.infer<typeof LoopChangeEffect>

/** One difference between a loop as it is and as it is to be. */
export const LoopChange = z.strictObject({
  what: z.string().describe('What changes, such as `vault`, `mount /data` or `env NAME`.'),
  from: z.string().nullable().describe('As it is; null when it is not there. Never a value of a variable.'),
  to: z.string().nullable().describe('As it is to be; null when it goes.'),
  effect: LoopChangeEffect,
})
export type LoopChange = z.infer<typeof LoopChange>

const planned = {
  changes: z.array(LoopChange).describe('Every difference, in the order of the parameters.'),
  due: z
    .string()
    .nullable()
    .describe('Why the container is to be made anew without these changes already; null when it is not.'),
  users: z.array(LeaseInfo).describe('What a recreation would end now.'),
}

export const loopPlan = defineMethod({
  method: 'loop/plan',
  summary: 'Tell what a change of a loop would do, without doing it.',
  description: 'Takes the same changes as `loop/update`. Without any it tells whether a recreation is due, and why.',
  params: z.strictObject({ loop: LoopRef, ...wishes }),
  result: z.strictObject(planned),
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'limit_unsupported',
    'loop_archived',
    'loop_broken',
    'loop_not_found',
    'mount_refused',
    'vault_invalid',
    'vault_not_found',
  ],
})

export const loopUpdate = defineMethod({
  method: 'loop/update',
  summary: 'Change what a loop is made from.',
  description:
    'Home and workdir are kept, and so is what was changed in the rest of the container, unless the image changes or ' +
    '`fresh` is given. A running container that has to make way is kept aside until the new one runs: when that does ' +
    'not start, the old one runs again and the change is taken back. A recreation that would end commands or other ' +
    'users of the loop is refused with `loop_in_use`, which names them, unless `force` or `whenIdle` is given.',
  params: z.strictObject({
    loop: LoopRef,
    ...wishes,
    fresh: z
      .boolean()
      .default(false)
      .describe('Make the container anew from its image, and drop what was changed in it.'),
    force: z.boolean().default(false).describe('End what runs in the loop.'),
    whenIdle: z
      .boolean()
      .default(false)
      .describe('Keep the container while it is used; whoever uses the loop next gets the new one.'),
    progressToken: ProgressToken.optional(),
  }),
  result: z.strictObject({
    loop: LoopInfo,
    ...planned,
    action: z
      .enum(['none', 'noted', 'recreated', 'deferred'])
      .describe(
        '`none`: nothing differs. `noted`: no container had to make way. `recreated`: the loop runs in a new one. ' +
          '`deferred`: it will, when it is not used any more.',
      ),
  }),
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'image_build_failed',
    'image_unavailable',
    'limit_unsupported',
    'loop_archived',
    'loop_broken',
    'loop_in_use',
    'loop_not_found',
    'mount_refused',
    'name_taken',
    'start_failed',
    'storage_failed',
    'vault_invalid',
    'vault_not_found',
  ],
})
