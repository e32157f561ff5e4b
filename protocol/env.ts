/** Plain variables of a loop. They are part of its metadata and shown to everybody; secrets belong into a vault. */
import { z } from 'zod'
import { LoopRef } from './loop.ts'
import { defineMethod } from './method.ts'
import { EnvName, EnvValue } from './vault.ts'

/** Largest environment of a loop, names included, in bytes. */
export const MAX_LOOP_ENV_BYTES = 65_536

const env = z.record(z.string(), z.string()).describe('All plain variables of the loop, sorted by name.')

export const envList = defineMethod({
  method: 'env/list',
  summary: 'List the plain variables of a loop.',
  description: 'Variables of its vault are not among them.',
  params: z.strictObject({ loop: LoopRef }),
  result: z.strictObject({ env }),
  errors: ['ambiguous_loop', 'loop_broken', 'loop_not_found'],
})

export const envSet = defineMethod({
  method: 'env/set',
  summary: 'Set plain variables of a loop.',
  description:
    'They count from the next command; the container is not touched. They override the variables of the vault, and a ' +
    'command can override them.',
  params: z.strictObject({
    loop: LoopRef,
    env: z
      .record(EnvName, EnvValue)
      .describe(`Variables to set; others stay. All of a loop together have at most ${MAX_LOOP_ENV_BYTES} bytes.`),
  }),
  result: z.strictObject({ env }),
  errors: ['ambiguous_loop', 'loop_archived', 'loop_broken', 'loop_not_found', 'storage_failed'],
})

export const envUnset = defineMethod({
  method: 'env/unset',
  summary: 'Take plain variables of a loop away.',
  description: 'From the next command on. Those that are not set are ignored.',
  params: z.strictObject({ loop: LoopRef, names: z.array(EnvName).max(1000).describe('Variables to take away.') }),
  result: z.strictObject({ env }),
  errors: ['ambiguous_loop', 'loop_archived', 'loop_broken', 'loop_not_found', 'storage_failed'],
})
