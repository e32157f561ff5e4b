/** `config.toml`: read once at start, checked whole, never rewritten. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import {
  DURATION_RULE,
  EnvName,
  EnvValue,
  formatDuration,
  HostDecision,
  HostPattern,
  IDLE_WINDOW_MS,
  type IdleWindow,
  ImageName,
  LoopatError,
  LoopRef,
  MAX_GRANTS,
  parseDuration,
  parseSize,
  SIZE_RULE,
} from '@loopatd/protocol'
import { z } from 'zod'
import { lineOfKey } from './config-line.ts'
import { isMask } from './host/argv-mask.ts'
import { parsePattern } from './host/argv-pattern.ts'
import { parseToml, TomlFault } from './lib/toml.ts'

const absolutePath = z
  .string()
  .transform((path) => (path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path))
  .refine((path) => path.startsWith('/'), 'must be an absolute path, or begin with ~/')

/** A window: `never`, or a length of time, which becomes milliseconds. */
const idleWindow = z.string().transform((text, context): IdleWindow => {
  const ms = text === 'never' ? text : parseDuration(text)
  if (ms === 'never' || (ms !== undefined && ms <= IDLE_WINDOW_MS.max)) return ms
  context.addIssue({ code: 'custom', message: `${DURATION_RULE}, of a year at most, or "never"` })
  return z.NEVER
})

/** A length of time up to a limit, which becomes milliseconds. */
const lengthOfTime = (max: number) =>
  z.string().transform((text, context): number => {
    const ms = parseDuration(text)
    if (ms !== undefined && ms <= max) return ms
    context.addIssue({ code: 'custom', message: `${DURATION_RULE}, of ${formatDuration(max)} at most` })
    return z.NEVER
  })

/** A size, which becomes bytes. */
const size = z.string().transform((text, context): number => {
  const bytes = parseSize(text)
  if (bytes !== undefined && bytes > 0 && Number.isSafeInteger(bytes)) return bytes
  context.addIssue({ code: 'custom', message: SIZE_RULE })
  return z.NEVER
})

/** A pattern that can be understood. */
function checkedPattern(text: string, context: z.RefinementCtx): string {
  try {
    parsePattern(text)
    return text
  } catch (error) {
    if (!(error instanceof LoopatError)) throw error
    context.addIssue({ code: 'custom', message: error.message })
    return z.NEVER
  }
}

/** What loops may run on the host: the grants of the user's own file, and the limits of all. */
const host = z.strictObject({
  // Whether a loop can write one of them is found out when a program is looked up.
  path: z.array(absolutePath).min(1).max(64).default(['/usr/local/bin', '/usr/bin', '/bin']),
  approval: lengthOfTime(86_400_000).default(120_000),
  max_time: lengthOfTime(1_209_600_000).default(3_600_000),
  max_output: size.default(4_294_967_296),
  max_sessions: z.int().min(1).max(256).default(8),
  max_per_minute: z.int().min(1).max(1_000_000).default(1200),
  mask: z
    .array(z.string().max(256).refine(isMask, 'must end with "*", or with " *" for the next argument'))
    .max(256)
    .default([]),
  grants: z
    .array(
      z.strictObject({
        pattern: HostPattern.transform(checkedPattern),
        decision: HostDecision.default('allow'),
        full_access: z.boolean().default(false),
        loop: LoopRef.optional(),
        env: z.record(EnvName, EnvValue).default({}),
        pass_env: z.array(EnvName).max(64).default([]),
      }),
    )
    .max(MAX_GRANTS)
    .default([]),
})

const schema = z.strictObject({
  daemon: z
    .strictObject({
      stop_loops: z.boolean().default(false),
      drain_seconds: z.int().min(0).max(600).default(10),
      max_message_bytes: z.int().min(65_536).max(268_435_456).default(8_388_608),
      max_connections: z.int().min(8).max(65_536).default(256),
    })
    .prefault({}),
  engine: z.strictObject({ socket: absolutePath.optional() }).prefault({}),
  image: z.strictObject({ base: ImageName.optional(), name: ImageName.optional() }).prefault({}),
  idle: z
    .strictObject({
      after: idleWindow.optional(),
      max_running: z.int().min(1).max(10_000).optional(),
      parallel_starts: z.int().min(1).max(256).optional(),
    })
    .prefault({}),
  host: host.prefault({}),
  git: z.strictObject({ key: absolutePath.optional() }).prefault({}),
  mounts: z
    .array(
      z.strictObject({
        // Checked when a loop is made: a bad one is left out, and told, rather than keep the daemon from starting.
        src: z.string().min(1).max(4096),
        dst: z.string().min(1).max(4096),
        rw: z.boolean().default(false),
      }),
    )
    .default([]),
  repos: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 of letters, digits, ".", "_" and "-"'),
        git: z.string().min(1).max(4096),
      }),
    )
    .superRefine((repos, context) => {
      for (const [index, repo] of repos.entries()) {
        if (repos.findIndex((other) => other.name === repo.name) === index) continue
        context.addIssue({ code: 'custom', path: [index, 'name'], message: `"${repo.name}" is named twice` })
      }
    })
    .default([]),
})

/** The configuration, defaults filled in. */
export type Config = z.output<typeof schema>

function refuse(path: string, line: number | undefined, message: string, cause?: unknown): LoopatError {
  const place = line === undefined ? path : `${path}:${line}`
  return new LoopatError('config_invalid', `${place}: ${message}`, {
    next: 'Correct the file and start the daemon again.',
    details: { file: path, ...(line === undefined ? {} : { line }) },
    cause,
  })
}

function describe(issue: z.core.$ZodIssue): { path: PropertyKey[]; message: string } {
  if (issue.code === 'unrecognized_keys') {
    const path = [...issue.path, issue.keys[0] ?? '']
    return { path, message: `unknown key ${path.join('.')}` }
  }
  return { path: issue.path, message: `${issue.path.join('.')}: ${issue.message}` }
}

/**
 * Checks the text of a configuration.
 * @param path named in errors
 * @throws LoopatError `config_invalid` with file, line and key
 */
export function parseConfig(text: string, path: string): Config {
  let value: unknown
  try {
    value = parseToml(text)
  } catch (error) {
    if (!(error instanceof TomlFault)) throw error
    throw refuse(path, error.line, error.message, error.cause)
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  if (issue === undefined) throw refuse(path, undefined, 'is not a valid configuration')
  const { path: key, message } = describe(issue)
  throw refuse(path, lineOfKey(text, key), message)
}

/**
 * The window that the environment sets for all loops (rule A-4).
 * @param text value of `LOOPAT_CONTAINER_IDLE_MS`
 * @throws LoopatError `config_invalid`
 */
export function parseIdleMs(text: string | undefined): IdleWindow | undefined {
  if (text === undefined || text === '') return undefined
  const ms = /^\d{1,15}$/.test(text) ? Number(text) : 0
  if (ms >= IDLE_WINDOW_MS.min && ms <= IDLE_WINDOW_MS.max) return ms
  const rule = `must be ${IDLE_WINDOW_MS.min} to ${IDLE_WINDOW_MS.max} milliseconds, not "${text}"`
  throw new LoopatError('config_invalid', `LOOPAT_CONTAINER_IDLE_MS ${rule}`, {
    next: 'Correct or unset it and start the daemon again.',
  })
}

/** Reads the configuration of a workspace; defaults when there is no file. */
export async function readConfig(path: string): Promise<Config> {
  try {
    return parseConfig(await readFile(path, 'utf8'), path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return schema.parse({})
    throw error
  }
}
