/**
 * Host commands: chosen programs of the host that a loop may run by their plain name, and nothing else.
 *
 * A loop may run nothing on the host until its user says otherwise, with grants. A grant is a pattern of arguments and a
 * decision. The first grant that matches counts: those of the loop first, then those of the workspace, then those of the
 * configuration, and of each the newest first (in the configuration: the order of the file). What none matches is denied.
 * Nothing that a loop or a repository can write is ever a grant.
 *
 * A pattern is written like a command: words, parted by spaces, quoted with `'…'`, `"…"` and `\` as in a shell. The first
 * word is the plain name of the program, or its absolute path on the host. In the others `*` stands for any run of
 * characters of one argument, control characters apart; a `*` that is a word of its own stands for one argument that does
 * not begin with `-`, and as the last word for any number of arguments of any kind. Everything else stands for itself,
 * byte by byte; a quoted `*` does, too.
 */
import { z } from 'zod'
import { EventCursor } from './event.ts'
import { LoopRef } from './loop.ts'
import { defineMethod, defineNotification } from './method.ts'
import { EnvName, EnvValue } from './vault.ts'

/** Bounds of the life of a grant, in milliseconds: a second to a year. */
export const GRANT_MS = { min: 1000, max: 31_536_000_000 } as const
/** Longest pattern, in bytes. A denied command that is longer can only be granted by a shorter pattern. */
export const MAX_PATTERN_BYTES = 65_536
/** Grants that a loop, or the workspace, may have. */
export const MAX_GRANTS = 256
/** Entries of the log that one answer holds. */
export const HOST_LOG_ENTRIES = { default: 100, max: 1000 } as const
/** Longest that one request waits for more of the log, in milliseconds. */
export const HOST_LOG_WAIT_MS = 60_000

export const HostDecision = z
  .enum(['allow', 'ask', 'deny'])
  .describe('`ask`: somebody has to approve each call with `host/approve`.')
export type HostDecision = z.infer<typeof HostDecision>

const noControl = (text: string) => !/\p{Cc}/u.test(text)

export const HostPattern = z
  .string()
  .trim()
  .min(1)
  .refine(noControl, 'must not contain control characters; grant such a command with `host/approve` and `always`')
  .refine((text) => Buffer.byteLength(text) <= MAX_PATTERN_BYTES, `must have at most ${MAX_PATTERN_BYTES} bytes`)
  .describe('Pattern of a command, such as `gh pr view *`; see the head of this file.')

export const GrantId = z
  .string()
  .regex(/^[0-9a-f]{8}$/, 'must be the id of a grant: 8 hexadecimal digits')
  .describe('Id of a grant.')

export const GrantInfo = z.strictObject({
  id: GrantId,
  loop: z.string().nullable().describe('Id of its loop; null for one of the workspace or of the configuration.'),
  origin: z.enum(['loop', 'workspace', 'config']),
  pattern: z.string(),
  decision: HostDecision,
  program: z
    .string()
    .nullable()
    .describe('Real path on the host of what runs, fixed when it was granted; null for `deny`.'),
  fullAccess: z.boolean().describe('The program can run anything, so this amounts to full access to the host.'),
  env: z.array(z.string()).describe('Names of the variables that the command gets on top of the usual ones.'),
  createdAt: z.iso.datetime().nullable().describe('Null for one of the configuration.'),
  expiresAt: z.iso.datetime().nullable().describe('Null when it does not expire.'),
  fault: z.string().nullable().describe('Why it lets nothing run although it is there; null when all is well.'),
})
export type GrantInfo = z.infer<typeof GrantInfo>

export const ApprovalId = z
  .string()
  .regex(/^[0-9a-f]{8}$/, 'must be the id of an approval: 8 hexadecimal digits')
  .describe('Id of a command that waits for an approval.')

const Shown = 'with control characters and bytes that are no text written as escapes'

export const ApprovalInfo = z.strictObject({
  id: ApprovalId,
  loop: z.string().describe('Id of the loop that asks.'),
  loopName: z.string(),
  argv: z.array(z.string()).describe(`Exactly what would run, ${Shown}.`),
  command: z.string().describe('The same as one line, quoted.'),
  program: z.string().describe('Real path of what would run.'),
  cwd: z.string().describe(`Directory on the host that it would run in, ${Shown}.`),
  grant: z.string().describe('Pattern of the grant that asks.'),
  fullAccess: z.boolean(),
  requestedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().describe('When it is denied if nobody answers.'),
})
export type ApprovalInfo = z.infer<typeof ApprovalInfo>

export const HostLogEntry = z.strictObject({
  time: z.iso.datetime(),
  event: z
    .enum(['start', 'end', 'deny', 'ask', 'limit'])
    .describe('`ask`: it waits for an approval. `limit`: further calls were refused without a line each.'),
  session: z.string().describe('Names the call; its lines have it in common.'),
  loop: z.string().describe('Id of the loop.'),
  argv: z.array(z.string()).describe(`The command, ${Shown}, secrets masked, cut to 4096 characters together.`),
  cwd: z.string().nullable().describe('Directory on the host; null when there was none to find.'),
  rule: z.string().describe('Why: the grant that counted and where it is from, or the rule that was broken.'),
  code: z.int().nullable().describe('Exit code, of `end`; what the caller was told, of `deny`.'),
  reason: z.string().nullable().describe('Of `end`: why it was ended by something else than itself.'),
  durationMs: z.int().nullable(),
  bytesIn: z.int().nullable().describe('Bytes that the command was sent.'),
  bytesOut: z.int().nullable().describe('Bytes that it wrote, both outputs together.'),
  count: z.int().nullable().describe('Of `limit`: how many.'),
})
export type HostLogEntry = z.infer<typeof HostLogEntry>

const lookErrors = ['ambiguous_loop', 'loop_not_found'] as const
const Scope = LoopRef.optional().describe(
  'The loop; without it, the grants of the workspace, which count for all loops.',
)

export const hostApprove = defineMethod({
  method: 'host/approve',
  summary: 'Let a command that waits for an approval run.',
  description:
    'The approval is for exactly that call. With `always`, a grant of exactly these arguments is added to the loop, too.',
  params: z.strictObject({
    approval: ApprovalId,
    always: z.boolean().default(false).describe('Allow the same command from now on.'),
  }),
  result: z.strictObject({ approval: ApprovalInfo, grant: GrantInfo.nullable() }),
  errors: ['approval_not_found', 'storage_failed', 'too_many_grants'],
})

export const hostDeny = defineMethod({
  method: 'host/deny',
  summary: 'Refuse a command that waits for an approval.',
  description: 'With `always`, a grant that denies exactly these arguments is added to the loop, too.',
  params: z.strictObject({
    approval: ApprovalId,
    always: z.boolean().default(false).describe('Deny the same command from now on.'),
  }),
  result: z.strictObject({ approval: ApprovalInfo, grant: GrantInfo.nullable() }),
  errors: ['approval_not_found', 'storage_failed', 'too_many_grants'],
})

export const hostGrant = defineMethod({
  method: 'host/grant',
  summary: 'Say whether a loop, or every loop, may run a command on the host.',
  description:
    'In force at once, also in a running loop. It comes before older grants, and replaces one of the same pattern. The ' +
    'program is looked up now, in the configured path, and only that file is ever run. A program that can run others, ' +
    'such as a shell, git or an editor, needs `fullAccess`, since it amounts to full access to the host. The command ' +
    'gets a fixed environment, what `env` and `passEnv` add, and from the loop nothing but TERM, COLUMNS, LINES and ' +
    'NO_COLOR.',
  params: z.strictObject({
    loop: Scope,
    pattern: HostPattern,
    decision: HostDecision.default('allow'),
    forMs: z
      .int()
      .min(GRANT_MS.min)
      .max(GRANT_MS.max)
      .optional()
      .describe('Milliseconds of wall-clock time after which it ends, and ends what runs by it. Default: never.'),
    env: z.record(EnvName, EnvValue).optional().describe('Variables for the command. Kept readable in the workspace.'),
    passEnv: z
      .array(EnvName)
      .max(64)
      .optional()
      .describe('Names of variables of the daemon that the command gets, as they are when it runs.'),
    fullAccess: z.boolean().default(false).describe('Yes, it may be a program that can run anything.'),
  }),
  result: z.strictObject({ grant: GrantInfo }),
  errors: [
    'ambiguous_loop',
    'full_access_needed',
    'host_command_not_found',
    'host_path_unsafe',
    'loop_broken',
    'loop_not_found',
    'storage_failed',
    'too_many_grants',
  ],
})

export const hostList = defineMethod({
  method: 'host/list',
  summary: 'List what loops may run on the host.',
  description: 'In the order in which they count. Has no side effect.',
  params: z.strictObject({ loop: LoopRef.optional().describe('Only what counts for this loop; default: everything.') }),
  result: z.strictObject({
    grants: z.array(GrantInfo),
    declared: z
      .array(z.string())
      .describe('Names that `[host].clis` of `mise.toml` in the workdir of the loop asks for. They grant nothing.'),
    faults: z
      .array(z.strictObject({ file: z.string(), message: z.string() }))
      .describe('Files of grants that cannot be read as they are now; what they said before stays in force.'),
  }),
  errors: [...lookErrors],
})

export const hostLog = defineMethod({
  method: 'host/log',
  summary: 'Read the log of host commands.',
  description:
    'Oldest first. Without `after` the last entries; with it those that came after, and none that is older. The log is ' +
    'rotated: of entries that are gone, nothing is told.',
  params: z.strictObject({
    loop: LoopRef.optional().describe('Only entries of this loop.'),
    limit: z
      .int()
      .min(1)
      .max(HOST_LOG_ENTRIES.max)
      .default(HOST_LOG_ENTRIES.default)
      .describe('Most entries of one answer.'),
    after: z.string().max(64).optional().describe('`next` of an earlier answer.'),
    waitMs: z.int().min(0).max(HOST_LOG_WAIT_MS).default(0).describe('Wait so long when there is nothing yet.'),
  }),
  result: z.strictObject({ entries: z.array(HostLogEntry), next: z.string().describe('Where to go on.') }),
  errors: [...lookErrors, 'storage_failed'],
})

export const hostPending = defineMethod({
  method: 'host/pending',
  summary: 'List commands that wait for an approval.',
  description: 'Oldest first. Has no side effect.',
  params: z.strictObject({ loop: LoopRef.optional().describe('Only those of this loop.') }),
  result: z.strictObject({ approvals: z.array(ApprovalInfo) }),
  errors: [...lookErrors],
})

export const hostRevoke = defineMethod({
  method: 'host/revoke',
  summary: 'Take grants back.',
  description:
    'In force at once: what runs by them is ended, and without any grant left the loop has no socket any more. Grants of ' +
    'the configuration are taken back by changing it.',
  params: z.strictObject({
    loop: Scope,
    grant: z
      .string()
      .min(1)
      .max(MAX_PATTERN_BYTES)
      .optional()
      .describe('Id or pattern of one; default: all of the loop, or of the workspace.'),
  }),
  result: z.strictObject({ revoked: z.array(GrantInfo) }),
  errors: ['ambiguous_loop', 'grant_not_found', 'loop_not_found', 'storage_failed'],
})

export const hostApprovalRequested = defineNotification({
  notification: 'host/approvalRequested',
  summary: 'A loop asks to run a command on the host.',
  description: 'Sent to subscribers of `event/subscribe`. Answer with `host/approve` or `host/deny`; silence denies.',
  params: z.strictObject({ subscription: z.string(), cursor: EventCursor, approval: ApprovalInfo }),
})

export const hostApprovalSettled = defineNotification({
  notification: 'host/approvalSettled',
  summary: 'A command waits no more for an approval.',
  description: 'Sent to subscribers of `event/subscribe`.',
  params: z.strictObject({
    subscription: z.string(),
    cursor: EventCursor,
    approval: ApprovalInfo,
    outcome: z
      .enum(['approved', 'denied', 'expired', 'gone'])
      .describe('`expired`: nobody answered in time, which denies it. `gone`: the loop asks no more.'),
  }),
})
