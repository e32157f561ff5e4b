/**
 * Loops: one unit of work each, a rootless container, a workdir and a home that persists.
 *
 * A loop is named by a {@link LoopRef}. Operations on one loop are serialised by the daemon: two of them never
 * interleave. States and their legal transitions are those of {@link LoopState}.
 */
import { z } from 'zod'
import { EventCursor } from './event.ts'
import { ImageName } from './image.ts'
import { LoopDns, LoopLimits, LoopMounts, LoopPersistence } from './loop-spec.ts'
import { defineMethod, defineNotification, ProgressToken } from './method.ts'
import { VaultName } from './vault.ts'

/** Longest title, in characters. */
export const MAX_TITLE = 200
/** Largest serialised `metadata`, in bytes. */
export const MAX_METADATA_BYTES = 16_384

export const LoopId = z.uuidv4().describe('Random id of the loop; never changes.')

export const LoopName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'must be 1 to 32 of a-z, 0-9 and "-", and not begin with "-"')
  .describe('Unique short name of the loop.')

export const LoopTitle = z
  .string()
  .trim()
  .max(MAX_TITLE, `must have at most ${MAX_TITLE} characters`)
  .refine((title) => !/\p{Cc}/u.test(title), 'must not contain control characters')
  .describe('Free text for people.')

export const LoopRef = z
  .string()
  .min(1)
  .max(64)
  .describe('Names a loop: its exact id, its exact name, or a prefix of its id of at least 4 characters.')

export const LoopState = z
  .enum(['created', 'starting', 'running', 'stopping', 'stopped', 'archived', 'broken'])
  .describe(
    '`created`: never started. `starting`, `stopping`: on the way. `running`: its container runs. `stopped`: its ' +
      'container is stopped or gone; home and workdir are kept. `archived`: read-only and stopped. `broken`: its ' +
      'metadata cannot be read; it is listed, and nothing is done to it.',
  )
export type LoopState = z.infer<typeof LoopState>

export const LoopRepo = z.strictObject({
  source: z
    .string()
    .describe('What the creator named: an URL, an absolute path or a roster name. Without credentials.'),
  url: z.string().describe('The origin of the clone. Without credentials.'),
  mirror: z.string().describe('Name of the mirror whose objects the clone borrows.'),
  start: z.string().describe('Commit at which the branch began, as full object id.'),
})

/** A loop as it is shown. */
export const LoopInfo = z.strictObject({
  id: z.string().describe('Id of the loop; for a broken loop the name of its directory.'),
  name: z.string().describe('Name of the loop; for a broken loop its id.'),
  title: z.string(),
  state: LoopState,
  reason: z.string().nullable().describe('Why the loop is broken, or why its last start failed.'),
  createdAt: z.iso.datetime().nullable().describe('Null for a broken loop.'),
  archivedAt: z.iso.datetime().nullable(),
  startedAt: z.iso
    .datetime({ offset: true })
    .nullable()
    .describe('When the container last started; null unless it runs.'),
  address: z.string().nullable().describe("The container's address in its own network; null unless it runs in one."),
  user: z.string().nullable().describe('Who created it.'),
  repo: LoopRepo.nullable().describe('The repository that the workdir is a clone of.'),
  branch: z.string().nullable().describe("The loop's branch in that clone."),
  image: z.string().nullable().describe('The image asked for; null for the sandbox image of the workspace.'),
  vault: z.string().nullable().describe('The vault that it uses; null for a broken loop.'),
})
export type LoopInfo = z.infer<typeof LoopInfo>

/** Something that keeps a loop awake. */
export const LeaseInfo = z.strictObject({
  id: z.string(),
  owner: z
    .string()
    .describe('What holds it: `client`, `exec`, `hold`, `image`, `job`, `recreation`, `start`, `terminal` and others.'),
  reason: z.string().describe('For people, such as the command that runs.'),
  since: z.iso.datetime(),
  expiresAt: z.iso.datetime().nullable().describe('When it ends by itself, as far as that can be known; null: never.'),
})

/** Why a loop woke or went to sleep. */
export const LoopCause = z.strictObject({
  by: z
    .enum(['idle', 'limit', 'outside', 'request', 'use'])
    .describe(
      '`idle`: its window was over. `limit`: others were to start and too many run. `outside`: not by loopatd. ' +
        '`request`: somebody asked for it. `use`: something was to run in it.',
    ),
  text: z.string().describe('For people: `idle for 30m`, `stop`, `exec: make test`.'),
})
export type LoopCause = z.infer<typeof LoopCause>

export const Interactive = z
  .boolean()
  .optional()
  .describe(
    'Whether a person waits: when many loops are to start, those that persons wait for come first. Default: false.',
  )

const one = { loop: LoopRef }
const long = { progressToken: ProgressToken.optional() }
const changed = z.strictObject({ loop: LoopInfo })

export const loopArchive = defineMethod({
  method: 'loop/archive',
  summary: 'Archive a loop.',
  description:
    'Ends what runs in the loop, stops its container and makes the loop read-only until it is unarchived. Nothing is ' +
    'deleted. Archiving an archived loop does nothing.',
  params: z.strictObject(one),
  result: changed,
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'loop_broken',
    'loop_not_found',
    'storage_failed',
  ],
})

export const loopCreate = defineMethod({
  method: 'loop/create',
  summary: 'Create a loop and start it.',
  description:
    'Makes the directories, clones the repository when one is named, writes the metadata last, and starts the loop ' +
    'unless told not to. When anything before the metadata fails or the request is cancelled, nothing is left behind. ' +
    'When only the start fails, the loop exists and the error says so. The first start may build the sandbox image ' +
    'and may take minutes.',
  params: z.strictObject({
    title: LoopTitle.optional().describe('Default: `untitled`.'),
    name: LoopName.optional().describe('Default: made from the title, with `-2`, `-3`… when it is taken.'),
    repo: z
      .strictObject({
        source: z
          .string()
          .min(1)
          .max(4096)
          .describe(
            'An `https://` or `ssh://` URL, `user@host:path`, an absolute path, or a name from `[[repos]]` of the configuration.',
          ),
        ref: z
          .string()
          .min(1)
          .max(255)
          .optional()
          .describe("Branch, tag or commit to start from; default: the origin's default branch."),
      })
      .optional()
      .describe('Repository to work on; without it the workdir is empty.'),
    image: ImageName.optional().describe(
      'Fully qualified image to use in place of the sandbox image; any that has `/bin/sh` and `sleep`.',
    ),
    mounts: LoopMounts.optional().describe(
      'Files and directories of the host; refused with `mount_refused` when one is missing, when two have one target, or when it would show what is not for loops.',
    ),
    dns: LoopDns.optional(),
    limits: LoopLimits.optional(),
    persistence: LoopPersistence.optional().describe('Default: `persistent`.'),
    knowledgeRw: z.boolean().optional().describe('Whether the loop may write its knowledge.'),
    mountAllLoops: z
      .boolean()
      .optional()
      .describe('Whether the workdirs of all other loops are mounted, read-only. Cannot be changed later.'),
    vault: VaultName.optional().describe('Vault whose credentials the loop gets; it must exist. Default: `default`.'),
    metadata: z
      .record(z.string(), z.json())
      .refine(
        (value) => Buffer.byteLength(JSON.stringify(value)) <= MAX_METADATA_BYTES,
        `must serialise to at most ${MAX_METADATA_BYTES} bytes`,
      )
      .optional()
      .describe('Opaque to the daemon; never visible in the sandbox.'),
    start: z.boolean().default(true).describe('Whether to start the loop.'),
    interactive: Interactive,
    ...long,
  }),
  result: changed,
  errors: [
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'git_failed',
    'image_build_failed',
    'image_unavailable',
    'limit_unsupported',
    'mount_refused',
    'name_taken',
    'repo_invalid',
    'repo_unavailable',
    'start_failed',
    'storage_failed',
    'vault_invalid',
    'vault_not_found',
  ],
})

export const loopGet = defineMethod({
  method: 'loop/get',
  summary: 'Show one loop.',
  description: 'Has no side effect and asks podman nothing while its event stream is alive.',
  params: z.strictObject(one),
  result: z.strictObject({
    loop: LoopInfo,
    container: z
      .strictObject({ name: z.string(), id: z.string().nullable() })
      .describe('Container of the loop; the id is null while there is none.'),
    recreation: z
      .strictObject({
        due: z.string().nullable().describe('Why the next start makes the container anew; null when it does not.'),
        last: z
          .strictObject({ at: z.iso.datetime(), reason: z.string() })
          .nullable()
          .describe('When and why the container was last made anew.'),
      })
      .describe('Containers made anew because the specification or the image of the loop changed.'),
    leases: z.array(LeaseInfo).describe('What keeps the loop awake now.'),
    paths: z
      .strictObject({ directory: z.string(), workdir: z.string(), home: z.string() })
      .describe("The loop's directories on the host."),
    metadata: z.record(z.string(), z.json()).nullable(),
  }),
  errors: ['ambiguous_loop', 'loop_not_found'],
})

export const loopList = defineMethod({
  method: 'loop/list',
  summary: 'List loops, newest first.',
  description: 'Loops whose metadata cannot be read are listed last, as `broken`.',
  params: z.strictObject({
    archived: z.enum(['exclude', 'include', 'only']).default('exclude').describe('Which archived loops to list.'),
  }),
  result: z.strictObject({ loops: z.array(LoopInfo) }),
  errors: [],
})

export const loopRemove = defineMethod({
  method: 'loop/remove',
  summary: 'Remove a loop with everything in it.',
  description:
    'Ends what runs in the loop, removes its container and network and deletes its directory. Refused with ' +
    '`unpromoted_work` while the clone holds commits that are on no remote or uncommitted files (git looks from inside ' +
    'the loop, which is started for that); the details list them. Removing a loop by an id that no longer exists ' +
    'succeeds and says so.',
  params: z.strictObject({
    ...one,
    force: z.boolean().default(false).describe('Remove in spite of unpromoted work.'),
    keepBranch: z
      .boolean()
      .default(false)
      .describe("Copy the clone's `loop/*` branches into the mirror first; commits on them then count as promoted."),
    ...long,
  }),
  result: z.strictObject({ id: z.string(), removed: z.boolean().describe('False when there was nothing to remove.') }),
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'git_failed',
    'loop_broken',
    'loop_not_found',
    'storage_failed',
    'unpromoted_work',
  ],
})

export const loopRename = defineMethod({
  method: 'loop/rename',
  summary: "Change a loop's name or title.",
  description: 'Has no effect on the container. At least one of the two must be given.',
  params: z
    .strictObject({
      ...one,
      name: LoopName.optional(),
      title: LoopTitle.refine((title) => title.length > 0, 'must not be empty').optional(),
    })
    .refine((params) => params.name !== undefined || params.title !== undefined, 'name or title must be given'),
  result: changed,
  errors: ['ambiguous_loop', 'loop_broken', 'loop_not_found', 'name_taken', 'storage_failed'],
})

const startErrors = [
  'ambiguous_loop',
  'connection_lost',
  'engine_failed',
  'engine_unavailable',
  'image_build_failed',
  'image_unavailable',
  'limit_unsupported',
  'loop_archived',
  'loop_broken',
  'loop_not_found',
  'name_taken',
  'start_failed',
  'storage_failed',
  'vault_invalid',
  'vault_not_found',
] as const

const started = z.strictObject({
  loop: LoopInfo,
  action: z
    .enum(['none', 'started', 'created', 'recreated'])
    .describe(
      '`none`: it ran already. `started`: its container was started. `created`, `recreated`: with a new container.',
    ),
  reason: z.string().nullable().describe('Why the container was recreated.'),
})

export const loopRestart = defineMethod({
  method: 'loop/restart',
  summary: 'Stop and start a loop.',
  description: 'Ends what runs in the loop. Starts a loop that does not run.',
  params: z.strictObject({ ...one, interactive: Interactive, ...long }),
  result: started,
  errors: startErrors,
})

export const loopStart = defineMethod({
  method: 'loop/start',
  summary: 'Make sure that a loop runs.',
  description:
    'Idempotent and serialised: many at once make one container. A running loop costs no podman call. Makes the ' +
    'container when there is none and makes it anew when its specification or image changed. A start that fails ' +
    'because of a stale network, a vanished mount source or a taken port is repaired once by making the container anew. ' +
    'Few loops start at the same time; the rest wait in a queue, and progress tells their place.',
  params: z.strictObject({
    ...one,
    interactive: Interactive,
    use: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe('What the loop is wanted for, such as `exec: make test`: it is told as the cause of the start.'),
    ...long,
  }),
  result: started,
  errors: startErrors,
})

export const loopStop = defineMethod({
  method: 'loop/stop',
  summary: 'Stop a loop.',
  description: 'Ends what runs in the loop; home and workdir are kept. Stopping a stopped loop does nothing.',
  params: z.strictObject({
    ...one,
    graceSeconds: z.int().min(0).max(600).default(5).describe('Seconds between TERM and KILL.'),
  }),
  result: changed,
  errors: ['ambiguous_loop', 'connection_lost', 'engine_failed', 'engine_unavailable', 'loop_broken', 'loop_not_found'],
})

export const loopUnarchive = defineMethod({
  method: 'loop/unarchive',
  summary: 'Bring an archived loop back.',
  description: 'The loop is stopped afterwards. Unarchiving a loop that is not archived does nothing.',
  params: z.strictObject(one),
  result: changed,
  errors: ['ambiguous_loop', 'loop_broken', 'loop_not_found', 'storage_failed'],
})

export const loopChanged = defineNotification({
  notification: 'loop/changed',
  summary: 'A loop was created, changed its state or its metadata, or was removed.',
  description: 'Sent once per change to every subscription that asked for it, with the loop as it is after the change.',
  params: z.strictObject({
    subscription: z.string(),
    cursor: EventCursor,
    loop: LoopInfo,
    removed: z.boolean().describe('True when the loop no longer exists; `loop` is then its last known form.'),
    cause: LoopCause.nullable().describe('Why it woke, went to sleep or tries to; null for other changes.'),
  }),
})
