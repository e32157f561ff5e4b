import { EnvName, GrantId, type GrantInfo, HostDecision, HostPattern, MAX_GRANTS } from '@loopatd/protocol'
import { z } from 'zod'
import { type ArgvPattern, matches, parsePattern } from './argv-pattern.ts'
import { nameOf } from './command-lookup.ts'

/** A grant as it is kept. */
export const GrantRecord = z.strictObject({
  id: GrantId,
  // What was approved for always may be what nobody can write in a pattern: then it is kept byte by byte.
  pattern: HostPattern.optional(),
  argv: z
    .array(z.base64())
    .min(1)
    .max(65_536)
    .optional()
    .describe('In place of a pattern: exactly these words, base64.'),
  decision: HostDecision,
  path: z.string().startsWith('/').optional().describe('Where the program was found; not for `deny`.'),
  program: z.string().startsWith('/').optional().describe('The file that this led to.'),
  fullAccess: z.boolean().default(false),
  env: z.record(EnvName, z.string()).default({}),
  passEnv: z.array(EnvName).default([]),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().optional(),
})
export type GrantRecord = z.output<typeof GrantRecord>

/** A file of grants; the first one that matches counts. */
export const GrantFileContent = z.strictObject({
  version: z.literal(1),
  grants: z.array(GrantRecord).max(MAX_GRANTS),
})

/** Where a grant comes from. */
export interface GrantOrigin {
  readonly origin: GrantInfo['origin']
  /** Id of the loop that it is for; null for all. */
  readonly loop: string | null
}

/** A grant that is ready to be compared with commands. */
export interface Grant extends GrantOrigin {
  readonly record: GrantRecord
  readonly wanted: ArgvPattern
  /** What is wrong with it, so that it denies what it matches; undefined when all is well. */
  readonly fault?: string
}

/** Makes a grant of what is kept of it. @throws LoopatError `invalid_params` for a bad pattern */
export function toGrant(record: GrantRecord, origin: GrantOrigin): Grant {
  return { ...origin, record, wanted: wantedBy(record) }
}

function wantedBy({ pattern, argv }: GrantRecord): ArgvPattern {
  if (argv === undefined) return parsePattern(pattern ?? '')
  const [command = '', ...args] = argv.map((word) => Buffer.from(word, 'base64').toString('latin1'))
  return { command, args: args.map((arg) => ({ kind: 'text', pieces: [arg] })), open: false }
}

/** The grant as its pattern, or what stands for it. */
export function patternOf({ record, wanted }: Pick<Grant, 'record' | 'wanted'>): string {
  return record.pattern ?? `${wanted.command} (exactly ${wanted.args.length} arguments that no pattern can hold)`
}

/** Reports whether a grant ends before a point in time. */
export function isExpired({ record }: Pick<Grant, 'record'>, now: Date): boolean {
  return record.expiresAt !== undefined && Date.parse(record.expiresAt) <= now.getTime()
}

/** A grant as it is shown. */
export function grantInfo(grant: Grant): GrantInfo {
  const { record, origin, loop } = grant
  return {
    id: record.id,
    loop,
    origin,
    pattern: patternOf(grant),
    decision: record.decision,
    program: record.program ?? null,
    fullAccess: record.fullAccess,
    env: [...new Set([...Object.keys(record.env), ...record.passEnv])].sort(),
    createdAt: origin === 'config' ? null : record.createdAt,
    expiresAt: record.expiresAt ?? null,
    fault: grant.fault ?? null,
  }
}

/**
 * The grant that counts for a command: the first that matches. Without one it is denied.
 * @param grants in the order in which they count
 * @param argv the name of the command and its arguments, one character per byte
 */
export function decide(grants: readonly Grant[], argv: readonly string[], now: Date): Grant | undefined {
  const [name, ...args] = argv
  return grants.find(
    (grant) => !isExpired(grant, now) && nameOf(grant.wanted.command) === name && matches(grant.wanted, args),
  )
}
