import {
  DEFAULT_VAULT,
  EnvName,
  EnvValue,
  LoopDns,
  LoopId,
  LoopLimits,
  LoopMounts,
  LoopName,
  LoopPersistence,
  LoopRepo,
  LoopTitle,
  VaultName,
} from '@loopatd/protocol'
import { z } from 'zod'
import { LoopUser } from './loop-user.ts'

/** Version of the metadata that this daemon writes. */
export const META_VERSION = 1

/** What of a loop shapes its container and can be changed; absent is the default. */
const wishes = {
  /** Image in place of the sandbox image of the workspace. */
  image: z.string().min(1).optional(),
  /** The selected vault; absent and `default` are one (rule C-12). */
  vault: VaultName.optional(),
  /** Mounts of this loop alone, as asked for, `~` resolved. */
  mounts: LoopMounts.optional(),
  dns: LoopDns.optional(),
  limits: LoopLimits.optional(),
  persistence: LoopPersistence.optional(),
  /** Whether the loop may write its knowledge (D4). */
  knowledgeRw: z.boolean().optional(),
  /** Whether the workdirs of the other loops are there, read-only. Only at creation (rule L-4). */
  mountAllLoops: z.boolean().optional(),
}

/**
 * `meta.json` of a loop, version 1 (rule L-3a). Keys that are not named here survive every write: later rooms name
 * theirs when they are built, and an older daemon must not lose what a newer one wrote.
 */
const schema = z.looseObject({
  version: z.literal(META_VERSION),
  id: LoopId,
  name: LoopName,
  title: LoopTitle,
  createdAt: z.iso.datetime(),
  /** Who created it. */
  user: LoopUser,
  /** The repository that the workdir is a clone of. */
  repo: z.looseObject(LoopRepo.shape).optional(),
  branch: z.string().min(1).optional(),
  ...wishes,
  /** Plain variables of every command; delivered when a command starts, never baked into the container. */
  env: z.record(EnvName, EnvValue).optional(),
  /** The last time that its container was made anew, and why. */
  recreated: z.looseObject({ at: z.iso.datetime(), reason: z.string() }).optional(),
  /** A change that no container has proven yet. */
  update: z
    .looseObject({
      at: z.iso.datetime(),
      /** What was asked for before. */
      previous: z.looseObject(wishes),
      /** Whether what was changed in the container is dropped. */
      fresh: z.boolean().optional(),
      /** Whether a running container makes way right now. */
      underWay: z.boolean().optional(),
    })
    .optional(),
  /** When the container first ran; absent while it never did. */
  firstStartedAt: z.iso.datetime().optional(),
  archivedAt: z.iso.datetime().optional(),
  /** Opaque to the daemon (rule L-27). */
  metadata: z.record(z.string(), z.json()).optional(),
})

/** Checked metadata of a loop. */
export type Meta = z.output<typeof schema>

/** The vault that a loop uses (rule V-4). */
export function vaultOf({ vault }: Pick<Meta, 'vault'>): string {
  return vault ?? DEFAULT_VAULT
}

/** Metadata, or why a text is none. */
export type ParsedMeta = { readonly meta: Meta } | { readonly reason: string }

/**
 * Checks the text of a `meta.json`.
 * @param id the name of the directory it lies in
 */
export function parseMeta(text: string, id: string): ParsedMeta {
  const json = parseJson(text)
  if ('reason' in json) return json
  const version = z.object({ version: z.int() }).safeParse(json.value)
  if (version.success && version.data.version > META_VERSION) {
    return { reason: `meta.json has version ${version.data.version}, written by a newer loopatd` }
  }
  const parsed = schema.safeParse(json.value)
  if (!parsed.success) return { reason: `meta.json: ${describeIssue(parsed.error)}` }
  if (parsed.data.id !== id) return { reason: `meta.json names another loop, ${parsed.data.id}` }
  return { meta: parsed.data }
}

/** The text of a `meta.json`. */
export function formatMeta(meta: Meta): string {
  return `${JSON.stringify(meta, undefined, 2)}\n`
}

function parseJson(text: string): { readonly value: unknown } | { readonly reason: string } {
  try {
    return { value: JSON.parse(text) }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return { reason: 'meta.json is not JSON' }
  }
}

function describeIssue(error: z.ZodError): string {
  const [issue] = error.issues
  if (issue === undefined) return 'not acceptable'
  return issue.path.length === 0 ? issue.message : `${issue.path.join('.')}: ${issue.message}`
}
