/** The log: JSON lines by pino, the only importer of it. Secrets are redacted here, whoever logs them. */
import { mkdirSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { destination, multistream, pino } from 'pino'

/** The logger's interface as rooms see it. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  child(fields: object): Logger
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
type Level = (typeof LEVELS)[number]

/** A log file beyond this size, in bytes, is set aside when the daemon starts. */
const ROTATE_BYTES = 10_485_760

const SECRET_KEYS = ['token', 'password', 'secret', 'authorization', 'env', 'stdin'].flatMap((key) => [
  key,
  `*.${key}`,
  `*.*.${key}`,
])

/** Hides user information in URLs, where people put tokens. The bound of a scheme keeps that linear. */
export function redactUrls(text: string): string {
  return text.replace(/\b([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/@]+@/gi, '$1***@')
}

function redactError(error: Error): Record<string, unknown> {
  const plain = pino.stdSerializers.err(error)
  return { ...plain, message: redactUrls(plain.message), stack: redactUrls(plain.stack) }
}

function isLevel(value: string): value is Level {
  return (LEVELS as readonly string[]).includes(value)
}

/**
 * Reads `LOOPAT_LOG_LEVEL`.
 * @throws LoopatError `config_invalid` when it is no level
 */
export function logLevel(value: string | undefined): Level {
  const level = value === undefined || value === '' ? 'info' : value.toLowerCase()
  if (isLevel(level)) return level
  throw new LoopatError('config_invalid', `LOOPAT_LOG_LEVEL is "${value}"; it must be one of ${LEVELS.join(', ')}`)
}

function setAside(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > ROTATE_BYTES) renameSync(path, `${path}.1`)
}

/** Where and how much to log. */
export interface LogOptions {
  readonly path: string
  readonly level: Level
  /** Also write to standard error, for a daemon in the foreground. */
  readonly stderr: boolean
}

/** Opens the file; undefined where none can be written, as on a file system that is read-only. */
function openFile(path: string): ReturnType<typeof destination> | undefined {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    setAside(path)
    const file = destination({ dest: path, append: true, sync: true, mode: 0o600 })
    // A full disk must not take the daemon down: what cannot be logged is dropped.
    file.on('error', () => undefined)
    return file
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    process.stderr.write(`loopatd: the log ${path} cannot be written (${error.code}), so it goes to standard error\n`)
    return undefined
  }
}

/** Opens the log. Lines are written at once, so that a crash loses none. Without a file they go to standard error. */
export function openLog({ path, level, stderr }: LogOptions): Logger {
  const file = openFile(path)
  const streams = [
    ...(file === undefined ? [] : [{ level, stream: file }]),
    ...(file === undefined || stderr ? [{ level, stream: process.stderr }] : []),
  ]
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: SECRET_KEYS, censor: '***' },
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: redactError, cause: redactError },
      hooks: {
        logMethod(args, method) {
          const [fields, message] = args as unknown as [object, string]
          method.apply(this, [fields, redactUrls(message)] as unknown as Parameters<typeof method>)
        },
      },
    },
    multistream(streams.map(({ stream, level: at }) => ({ stream, level: at === 'silent' ? 'fatal' : at }))),
  )
}
