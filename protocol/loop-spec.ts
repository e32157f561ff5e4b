/** What can be asked of the container of a loop, apart from its image. Changing any of it takes a new container. */
import { z } from 'zod'

/** Most mounts that one loop may ask for. */
export const MAX_MOUNTS = 64
/** Most name servers; resolvers look at no more. */
export const MAX_DNS = 3
/** Smallest limit of memory in bytes; below it no container starts. */
export const MIN_MEMORY_BYTES = 6_291_456
/** Smallest limit of processes: init, launcher, and a shell with a few children. */
export const MIN_PIDS = 16

const path = z.string().min(1).max(4096)

export const LoopMount = z.strictObject({
  source: path.describe('File or directory of the host: absolute, `~`, `~/…`, `$HOME` or `$HOME/…`, without `..`.'),
  target: path.describe('Where it is inside: absolute, or below the home of the loop as `~/…` or `$HOME/…`.'),
  readOnly: z.boolean().default(true).describe('Whether the loop can only read it.'),
})
export type LoopMount = z.infer<typeof LoopMount>

export const LoopMounts = z.array(LoopMount).max(MAX_MOUNTS).describe('Files and directories of the host.')

export const LoopDns = z
  .array(z.union([z.ipv4(), z.ipv6()]))
  .max(MAX_DNS)
  .describe("Addresses of name servers, in place of those of the loop's network.")

export const LoopLimits = z
  .strictObject({
    memoryBytes: z.int().min(MIN_MEMORY_BYTES).optional().describe('Memory in bytes, swap included.'),
    cpus: z.number().min(0.01).max(1024).multipleOf(0.01).optional().describe('Processors; 0.5 is half of one.'),
    pids: z.int().min(MIN_PIDS).max(4_194_304).optional().describe('Processes and threads.'),
  })
  .describe('What the loop may use of the machine. Refused where the host cannot enforce it.')
export type LoopLimits = z.infer<typeof LoopLimits>

export const LoopPersistence = z
  .enum(['persistent', 'ephemeral'])
  .describe(
    '`persistent`: the container is kept over stops. `ephemeral`: every start from a stop makes a fresh container. ' +
      'Home and workdir persist in both.',
  )
export type LoopPersistence = z.infer<typeof LoopPersistence>
