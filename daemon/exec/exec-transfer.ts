/** The ways that input and output of a command take: into and out of the answer, or over the streams of its client. */
import { Readable, type Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import type { CheckedParamsOf, ResultOf } from '@loopatd/protocol'
import { EXEC_OUTPUT_BYTES, LoopatError } from '@loopatd/protocol'
import { type EngineExec, isEngineError } from '../engine/engine.ts'
import { forward } from './agent-output.ts'
import type { ExecIo } from './exec-io.ts'
import { FirstBytes, HeadAndTail, TruncatingStream, type Truncator } from './truncate.ts'

type Params = CheckedParamsOf<'exec/run'>
/** What the answer says of output. */
export type TransferredOutput = Pick<ResultOf<'exec/run'>, 'stdout' | 'stderr' | 'droppedBytes' | 'linesOmitted'>

/** Input and output of a running command on their way. */
export interface Transfer {
  /** Exit code, when the command has ended and its output has arrived. */
  readonly done: Promise<number>
  /** Whether whoever takes the output has still to take some of it. */
  isBehind(): boolean
  /** Hands over what is held back of output that may not end. */
  settle(): Promise<void>
  /** What has arrived until now. */
  output(): TransferredOutput
}

/** Feeds the command from its params, and keeps its output for the answer. */
export function collecting(exec: EngineExec, { stdin, encoding, maxOutputBytes }: Params): Transfer {
  if (stdin !== undefined) feed(Readable.from([Buffer.from(stdin)]), exec.stdin)
  const limit = maxOutputBytes ?? EXEC_OUTPUT_BYTES.default
  const make = () => (encoding === 'utf8' ? new HeadAndTail(limit) : new FirstBytes(limit))
  const [stdout, stderr] = [make(), make()]
  const ended = Promise.all([exec.exit, keep(exec.stdout, stdout), keep(exec.stderr, stderr)])
  return {
    done: ended.then(([{ exitCode }]) => exitCode),
    isBehind: () => false,
    settle: () => Promise.resolve(),
    output: () => ({
      stdout: stdout.end().toString(encoding),
      stderr: stderr.end().toString(encoding),
      ...sumOf([stdout, stderr]),
    }),
  }
}

/**
 * Joins the client's streams to those of the command.
 * @param maxOutputBytes what may pass of each output
 * @param lost aborted when the client goes away while the command runs
 */
export function streaming(
  exec: EngineExec,
  io: ExecIo,
  { maxOutputBytes, lost }: { maxOutputBytes: number | undefined; lost: AbortController },
): Transfer {
  feed(io.stdin, exec.stdin)
  let isSettled = false
  const gone = (error: unknown) => {
    if (!isEngineError(error) && !isSettled) {
      lost.abort(new LoopatError('cancelled', 'the client closed its stream while the command ran', { cause: error }))
    }
    throw error
  }
  const filters = (maxOutputBytes === undefined ? [] : [maxOutputBytes, maxOutputBytes]).map(
    (limit) => new TruncatingStream(new HeadAndTail(limit)),
  )
  const output = Promise.all([pass(exec.stdout, filters[0], io.stdout), pass(exec.stderr, filters[1], io.stderr)])
  const ended = Promise.all([exec.exit, output.catch(gone)])
  return {
    done: ended.then(([{ exitCode }]) => exitCode),
    isBehind: () => [io.stdout, io.stderr].some((stream) => !stream.destroyed && stream.writableLength > 0),
    settle: async () => {
      // From here on it is no client that breaks the way of the output off.
      isSettled = true
      for (const filter of filters) {
        for (const source of [exec.stdout, exec.stderr]) source.unpipe(filter)
        filter.end()
      }
      await Promise.allSettled(filters.length === 0 ? [] : [finished(io.stdout), finished(io.stderr)])
    },
    output: () => ({ stdout: null, stderr: null, ...sumOf(filters.map(({ truncator }) => truncator)) }),
  }
}

function pass(source: Readable, filter: TruncatingStream | undefined, target: Writable): Promise<void> {
  return filter === undefined ? forward(source, target) : pipeline(source, filter, target)
}

/** Reads to the end, so that what is left out never blocks the command. */
export async function keep(source: Readable, truncator: Truncator): Promise<void> {
  for await (const chunk of source as AsyncIterable<Buffer>) truncator.take(chunk)
}

function sumOf(truncators: readonly Truncator[]): Pick<TransferredOutput, 'droppedBytes' | 'linesOmitted'> {
  const all = truncators.map(({ omitted }) => omitted)
  return {
    droppedBytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    linesOmitted: all.reduce((sum, { lines }) => sum + lines, 0),
  }
}

/**
 * Passes input on. A command may end, or close its stdin, while input still comes: that is no failure, the rest is
 * read and dropped, so that what follows the input on the same transport is not held up.
 */
function feed(source: Readable, stdin: Writable): void {
  stdin.once('error', () => {
    source.unpipe(stdin)
    source.resume()
  })
  source.once('error', () => stdin.end())
  source.once('close', () => stdin.end())
  source.pipe(stdin)
}
