import { JOB_LOG_BYTES, JobId, type JobInfo, JobState } from '@loopatd/protocol'
import { z } from 'zod'

/** Characters of a command that are remembered. */
const MAX_COMMAND = 4096

const schema = z.object({
  version: z.literal(1),
  id: JobId,
  loop: z.string(),
  command: z.array(z.string()),
  cwd: z.string().optional(),
  keepalive: z.boolean(),
  maxLogBytes: z.int().min(JOB_LOG_BYTES.min),
  startedAt: z.iso.datetime(),
  state: JobState,
  exitCode: z.int().min(0).max(255).optional(),
  endedAt: z.iso.datetime().optional(),
  /** Why it was lost, or ended by something else than itself. */
  reason: z.string().optional(),
  /** The run of a container that it belongs to. */
  container: z.object({ name: z.string(), id: z.string().optional(), startedAt: z.string().optional() }),
  /** Session of the command, inside. */
  session: z.int().positive().optional(),
  /** First process of that session, on the host. */
  process: z.object({ pid: z.int().positive(), startTicks: z.string(), bootId: z.string() }).optional(),
})

/**
 * What the daemon itself knows of a job, in `loops/ID/jobs/JOB.json`. Loops cannot reach it. It holds neither variables
 * nor output.
 */
export type JobRecord = z.infer<typeof schema>

/** The text of a record. */
export function formatRecord(record: JobRecord): string {
  return `${JSON.stringify(record)}\n`
}

/** Reads the text of a record. @returns undefined when it is none */
export function parseRecord(text: string): JobRecord | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Reports whether a job is over. */
export function isOver({ state }: Pick<JobRecord, 'state'>): boolean {
  return state === 'exited' || state === 'lost'
}

/** What clients see of a record. */
export function infoOf(record: JobRecord): JobInfo {
  const { id, loop, command, cwd, state, exitCode, reason, keepalive, maxLogBytes, startedAt, endedAt } = record
  return {
    id,
    loop,
    command,
    cwd: cwd ?? null,
    state,
    exitCode: exitCode ?? null,
    reason: reason ?? null,
    keepalive,
    maxLogBytes,
    startedAt,
    endedAt: endedAt ?? null,
  }
}

/** A command as far as it is remembered. */
export function shortCommand(command: readonly string[]): string[] {
  const words: string[] = []
  let left = MAX_COMMAND
  for (const word of command) {
    if (word.length > left || words.length === MAX_COMMAND / 4) return [...words, `${word.slice(0, left)}…`]
    words.push(word)
    left -= word.length
  }
  return words
}
