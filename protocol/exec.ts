/** One-shot commands in a loop. */
import { z } from 'zod'
import { Interactive, LoopRef } from './loop.ts'
import { defineMethod, ProgressToken } from './method.ts'
import { EnvName, EnvValue } from './vault.ts'

/** Output kept of each of stdout and stderr, in bytes: the default when no raw stream is used, and the upper bound. */
export const EXEC_OUTPUT_BYTES = { default: 1_048_576, max: 4_194_304 } as const

/** Longest argument of a command, in bytes: what the kernel takes (128 KiB with the NUL behind it). */
export const MAX_ARGUMENT_BYTES = 131_071
/** All arguments of a command, each with the NUL behind it, in bytes. The kernel takes 2 MiB, environment and all. */
export const MAX_ARGUMENTS_BYTES = 1_048_576

/** Longest time limit of a command, in milliseconds: 24 days, what a timer takes. */
export const MAX_EXEC_TIMEOUT_MS = 2_147_483_647

export const TerminalSize = z.strictObject({
  cols: z.int().min(1).max(4096),
  rows: z.int().min(1).max(4096),
})

const noNul = (value: string) => !value.includes('\0')
const fitsArgument = (value: string) => Buffer.byteLength(value) <= MAX_ARGUMENT_BYTES
const fitArguments = (values: readonly string[]) =>
  values.reduce((bytes, value) => bytes + Buffer.byteLength(value) + 1, 0) <= MAX_ARGUMENTS_BYTES

const Argument = z
  .string()
  .refine(noNul, 'must not contain NUL')
  .refine(fitsArgument, `must have at most ${MAX_ARGUMENT_BYTES} bytes; pass more on stdin or in a file`)

/** A program and its arguments. */
export const CommandWords = z
  .array(Argument)
  .min(1)
  .max(65_536)
  .refine(fitArguments, `must have at most ${MAX_ARGUMENTS_BYTES} bytes together; pass more on stdin or in a file`)
  .describe('Program and arguments.')

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
    'Arguments of `command` are passed as they are; no shell looks at them. In its environment are the variables of the ' +
    'vault of the loop, those of the loop itself, and `env`; of two with one name the later counts. A stopped loop is ' +
    'started first. With `stream`, stdin, stdout and stderr are bytes on that raw stream, which the client must have ' +
    'connected; the answer follows when the command has ended. Without it, output is collected into the answer. Of ' +
    'output beyond `maxOutputBytes`, whole lines of the beginning and of the end stay, each up to 45 % of the limit, ' +
    'with a notice between them that says how many lines and bytes are left out; a line that alone is longer is cut; ' +
    'with `encoding: base64` the first bytes stay instead. When `timeoutMs` is over, or the request is cancelled, or ' +
    'its client goes away or hangs (see `presence/set`), the command is ended with all that it has started: TERM, then ' +
    'KILL. A command that its time ' +
    'limit ended is no error: the answer has its output and `timedOut`. What a command leaves running when it ends goes ' +
    'on, unless the client had sent it HUP, INT, QUIT or TERM. While it runs, the command holds a lease on the loop.',
  params: z.strictObject({
    loop: LoopRef,
    command: CommandWords.optional().describe('Program and arguments. Either this or `shell`.'),
    shell: Argument.min(1).optional().describe('Text for `/bin/sh -c` in the loop, in place of `command`.'),
    cwd: z
      .string()
      .min(1)
      .max(4096)
      .refine(noNul, 'must not contain NUL')
      .refine((path) => path.startsWith('/'), 'must be absolute: a directory inside the loop')
      .optional()
      .describe('Absolute directory inside; default: the workdir.'),
    env: z
      .record(EnvName, EnvValue)
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
      .optional()
      .describe(
        'Bytes that are kept of each of stdout and stderr; the notice comes on top. Default: ' +
          `${EXEC_OUTPUT_BYTES.default}, and with \`stream\` everything.`,
      ),
    timeoutMs: z
      .int()
      .min(1)
      .max(MAX_EXEC_TIMEOUT_MS)
      .optional()
      .describe('Milliseconds that the command may take, from when it begins; the start of the loop does not count.'),
    start: z.boolean().default(true).describe('Start a stopped loop; otherwise `loop_not_running`.'),
    interactive: Interactive,
    progressToken: ProgressToken.optional(),
  }),
  result: z.strictObject({
    exitCode: z
      .int()
      .min(0)
      .max(255)
      .describe('Code of the command; 128 + n when signal n ended it; 137 whenever its time limit did.'),
    timedOut: z.boolean().describe('Whether the command was ended because `timeoutMs` was over.'),
    durationMs: z.int().min(0).describe('Milliseconds from the beginning of the command to its end.'),
    stdout: z.string().nullable().describe('Null with `stream`.'),
    stderr: z.string().nullable().describe('Null with `stream`.'),
    droppedBytes: z.int().min(0).describe('Bytes left out of the output, both streams together.'),
    linesOmitted: z.int().min(0).describe('Lines that are missing as a whole, both streams together.'),
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
