/** Jobs: commands in a loop that go on without whoever started them, the daemon included. */
import { z } from 'zod'
import { EventCursor } from './event.ts'
import { CommandWords, execRun } from './exec.ts'
import { LoopRef } from './loop.ts'
import { defineMethod, defineNotification, Nothing, ProgressToken } from './method.ts'

/** Output of a job that is kept per stream, in bytes: the oldest goes when there is more. */
export const JOB_LOG_BYTES = { min: 65_536, default: 16_777_216, max: 1_073_741_824 } as const
/** Bytes of a log that one answer holds. */
export const JOB_READ_BYTES = { default: 65_536, max: 1_048_576 } as const
/** Longest that one request waits for more of a log, in milliseconds. */
export const JOB_WAIT_MS = 60_000
/** Ended jobs of a loop that are remembered; older ones are removed with their logs when another one starts. */
export const JOBS_KEPT = 100

/** Names a job within its loop. */
export const JobId = z
  .string()
  .regex(/^[0-9a-f]{8}$/, 'must be the id of a job: 8 hexadecimal digits')
  .describe('Id of a job.')

export const JobState = z
  .enum(['starting', 'running', 'exited', 'lost'])
  .describe('`lost`: it runs no more, and how it ended is not known; `reason` says why.')
export type JobState = z.infer<typeof JobState>

export const JobInfo = z.strictObject({
  id: JobId,
  loop: z.string().describe('Id of its loop.'),
  command: z.array(z.string()).describe('Program and arguments, cut to 4096 characters together.'),
  cwd: z.string().nullable().describe('Directory inside; null for the workdir.'),
  state: JobState,
  exitCode: z.int().min(0).max(255).nullable().describe('When it has exited; 128 + n when signal n ended it.'),
  reason: z.string().nullable().describe('Why it was lost, or was ended by something else than itself.'),
  keepalive: z.boolean().describe('Whether it keeps its loop awake while it runs.'),
  maxLogBytes: z.int().describe('Output that is kept per stream.'),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable().describe('Null while it runs, and when it is not known.'),
})
export type JobInfo = z.infer<typeof JobInfo>

export const JobStream = z.enum(['stdout', 'stderr']).describe('Which output.')
export type JobStream = z.infer<typeof JobStream>

/** Signals that can be sent to a job. */
export const JobSignal = z.enum(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGKILL', 'SIGUSR1', 'SIGUSR2'])
export type JobSignal = z.infer<typeof JobSignal>

const one = { loop: LoopRef, job: JobId }
const found = ['ambiguous_loop', 'job_not_found', 'loop_not_found', 'storage_failed'] as const

export const jobGet = defineMethod({
  method: 'job/get',
  summary: 'Show one job.',
  description: 'Works on a stopped loop, too, and has no side effect.',
  params: z.strictObject(one),
  result: z.strictObject({ job: JobInfo }),
  errors: [...found],
})

export const jobKill = defineMethod({
  method: 'job/kill',
  summary: 'End a job.',
  description:
    'Without `signal`, sends TERM to all processes of the session of the job and to those that descend from it, and KILL ' +
    'two seconds later to what is left; answers when the job has ended. With `signal`, sends only that, to the same ' +
    'processes for TERM and KILL and otherwise to the process group of the command, and answers at once. When it is ' +
    'cancelled, what was sent stays sent.',
  params: z.strictObject({ ...one, signal: JobSignal.optional().describe('Send this alone.') }),
  result: z.strictObject({ job: JobInfo }),
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'job_ended',
    'job_not_found',
    'loop_not_found',
    'storage_failed',
  ],
})

export const jobList = defineMethod({
  method: 'job/list',
  summary: 'List the jobs of a loop.',
  description: `Newest first. Of ended jobs the newest ${JOBS_KEPT} are remembered; others go when the next one starts. Works on a stopped loop, too.`,
  params: z.strictObject({ loop: LoopRef }),
  result: z.strictObject({ jobs: z.array(JobInfo) }),
  errors: ['ambiguous_loop', 'loop_not_found', 'storage_failed'],
})

export const jobLogs = defineMethod({
  method: 'job/logs',
  summary: 'Read output of a job.',
  description:
    'Reads one stream from a byte on. Offsets count from the first byte that the job wrote; of a log that grew beyond ' +
    'its limit the beginning is gone, and reading goes on where the rest begins: look at `offset` of the answer. Works ' +
    'on a stopped loop, too. Follow a log by asking again from `nextOffset` with `waitMs` until `eof`. The loop itself ' +
    'can write to the files of its logs: what they say is not to be trusted.',
  params: z.strictObject({
    ...one,
    stream: JobStream.default('stdout'),
    offset: z
      .int()
      .min(0)
      .optional()
      .describe('First byte to read; beyond the end: `offset_invalid`. Default: the first byte that is kept.'),
    tailBytes: z
      .int()
      .min(0)
      .optional()
      .describe('Begin so many bytes before the end, or at the first byte that is kept. Not with `offset`.'),
    maxBytes: z.int().min(4).max(JOB_READ_BYTES.max).default(JOB_READ_BYTES.default).describe('Longest answer.'),
    waitMs: z
      .int()
      .min(0)
      .max(JOB_WAIT_MS)
      .default(0)
      .describe('Wait so long for more when there is nothing to read yet, while the job runs.'),
    encoding: z
      .enum(['utf8', 'base64'])
      .default('utf8')
      .describe('How the bytes are written. With utf8, a character that is not complete yet is left for later.'),
  }),
  result: z.strictObject({
    data: z.string(),
    offset: z.int().min(0).describe('Of the first byte of `data`.'),
    nextOffset: z.int().min(0).describe('Where to go on reading.'),
    firstOffset: z.int().min(0).describe('First byte that is kept.'),
    endOffset: z.int().min(0).describe('Bytes that were written so far.'),
    eof: z.boolean().describe('Whether nothing more comes: the job has ended, and all is read.'),
    cut: z.boolean().describe('Whether the disk had no room for what the job wrote after `endOffset`.'),
  }),
  errors: ['ambiguous_loop', 'job_not_found', 'log_unreadable', 'loop_not_found', 'offset_invalid', 'storage_failed'],
})

export const jobRemove = defineMethod({
  method: 'job/remove',
  summary: 'Forget a job and remove its logs.',
  description: 'A running one is refused, unless forced: it is then ended as by `job/kill`.',
  params: z.strictObject({ ...one, force: z.boolean().default(false).describe('End it when it runs.') }),
  result: Nothing,
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'job_not_found',
    'job_running',
    'loop_not_found',
    'storage_failed',
  ],
})

export const jobStart = defineMethod({
  method: 'job/start',
  summary: 'Start a command in a loop and leave it running.',
  description:
    'As `exec/run` starts one, with no input, as the user of the loop. The job goes on when the client or the daemon ' +
    'ends, in a session of its own; it ends with its command, when it is killed, or when the loop stops. Its output is ' +
    'kept inside, in `/loopat/run/job/ID`. While it runs, it holds a lease on the loop. A request that is cancelled ' +
    'before it was answered leaves no job.',
  params: z.strictObject({
    ...execRun.params.pick({ loop: true, cwd: true, env: true }).shape,
    command: CommandWords,
    keepalive: z.boolean().default(true).describe('Keep the loop awake while the job runs.'),
    maxLogBytes: z
      .int()
      .min(JOB_LOG_BYTES.min)
      .max(JOB_LOG_BYTES.max)
      .default(JOB_LOG_BYTES.default)
      .describe('Output to keep per stream; the oldest goes first, in steps of a quarter.'),
    start: z.boolean().default(true).describe('Start a stopped loop; otherwise `loop_not_running`.'),
    progressToken: ProgressToken.optional(),
  }),
  result: z.strictObject({ job: JobInfo }),
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'exec_not_executable',
    'exec_not_found',
    'image_build_failed',
    'image_unavailable',
    'job_failed',
    'limit_unsupported',
    'loop_archived',
    'loop_broken',
    'loop_not_found',
    'loop_not_running',
    'name_taken',
    'start_failed',
    'storage_failed',
    'vault_invalid',
    'vault_not_found',
  ],
})

export const jobWait = defineMethod({
  method: 'job/wait',
  summary: 'Wait until a job has ended.',
  description: 'Answers at once when it has. Cancelling it does nothing to the job.',
  params: z.strictObject(one),
  result: z.strictObject({ job: JobInfo }),
  errors: [...found],
})

export const jobChanged = defineNotification({
  notification: 'job/changed',
  summary: 'A job began or ended, or was removed.',
  description: 'Sent to subscribers of `event/subscribe`. An end may be noticed up to a second later.',
  params: z.strictObject({
    subscription: z.string(),
    cursor: EventCursor,
    job: JobInfo,
    removed: z.boolean().describe('The job is forgotten; `job` is what it was last.'),
  }),
})
