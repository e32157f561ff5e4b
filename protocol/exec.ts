/** One-shot commands in a loop. */
import { z } from 'zod'
import { LoopRef } from './loop.ts'
import { defineMethod, ProgressToken } from './method.ts'
import { EnvName } from './vault.ts'

/** Output kept per stream when no raw stream is used, in bytes: default and upper bound. */
export const EXEC_OUTPUT_BYTES = { default: 1_048_576, max: 4_194_304 } as const

export const TerminalSize = z.strictObject({
  cols: z.int().min(1).max(4096),
  rows: z.int().min(1).max(4096),
})

const noNul = (value: string) => !value.includes('\0')

/** Messages on the control channel of a raw stream that belongs to an exec, from client to daemon. */
export const ExecControl = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('resize'), cols: z.int().min(1).max(4096), rows: z.int().min(1).max(4096) }),
  z.strictObject({
    type: z.literal('signal'),
    signal: z.enum(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2']),
  }),
])
export type ExecControl = z.infer<typeof ExecControl>

export const execRun = defineMethod({
  method: 'exec/run',
  summary: 'Run a command in a loop and wait for it.',
  description:
    'Arguments are passed as they are; no shell looks at them. In its environment are the variables of the vault of the ' +
    'loop, those of the loop itself, and `env`; of two with one name the later counts. A stopped loop is started first. With `stream`, stdin, ' +
    'stdout and stderr are bytes on that raw stream, which the client must have connected; the answer follows when the ' +
    'command has ended. Without it, output is collected into the answer up to `maxOutputBytes` per stream, and the rest ' +
    'is dropped and counted. Cancelling the request, or losing the client, ends the whole process group of the command: ' +
    'TERM, then KILL. While it runs, the command holds a lease on the loop.',
  params: z.strictObject({
    loop: LoopRef,
    command: z
      .array(z.string().refine(noNul, 'must not contain NUL'))
      .min(1)
      .max(4096)
      .describe('Program and arguments.'),
    cwd: z
      .string()
      .min(1)
      .max(4096)
      .refine(noNul, 'must not contain NUL')
      .optional()
      .describe('Absolute directory inside; default: the workdir.'),
    env: z
      .record(EnvName, z.string().refine(noNul, 'must not contain NUL'))
      .optional()
      .describe('Variables on top of those of the loop and of its vault. Not for secrets: podman keeps them.'),
    user: z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$/, 'must be a user name or uid, optionally with a group')
      .optional()
      .describe('Default: the user of the image.'),
    tty: TerminalSize.optional().describe(
      'Run on a terminal of this size; stderr is then part of stdout. Needs `stream`.',
    ),
    stdin: z
      .string()
      .optional()
      .describe('Text for stdin, then end of file. Not with `stream`. Default: end of file at once.'),
    stream: z.string().min(1).max(64).optional().describe('Id from `stream/open`.'),
    encoding: z.enum(['utf8', 'base64']).default('utf8').describe('How collected output is written into the answer.'),
    maxOutputBytes: z
      .int()
      .min(0)
      .max(EXEC_OUTPUT_BYTES.max)
      .default(EXEC_OUTPUT_BYTES.default)
      .describe('Bytes that are kept of each output without `stream`.'),
    start: z.boolean().default(true).describe('Start a stopped loop; otherwise `loop_not_running`.'),
    progressToken: ProgressToken.optional(),
  }),
  result: z.strictObject({
    exitCode: z.int().min(0).max(255).describe('Code of the command; 128 + n when signal n ended it.'),
    stdout: z.string().nullable().describe('Null with `stream`.'),
    stderr: z.string().nullable().describe('Null with `stream`.'),
    droppedBytes: z.int().min(0).describe('Output beyond the limit, both streams together.'),
  }),
  errors: [
    'ambiguous_loop',
    'connection_lost',
    'engine_failed',
    'engine_unavailable',
    'exec_not_executable',
    'exec_not_found',
    'image_build_failed',
    'image_unavailable',
    'limit_unsupported',
    'loop_archived',
    'loop_broken',
    'loop_not_found',
    'loop_not_running',
    'name_taken',
    'start_failed',
    'storage_failed',
    'stream_invalid',
    'vault_invalid',
    'vault_not_found',
  ],
})
