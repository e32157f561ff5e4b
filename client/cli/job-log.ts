import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { JobStream } from '@loopatd/protocol'
import type { Context } from './context.ts'
import type { Ask } from './steady.ts'

/** Bytes that are asked for at a time, and milliseconds that one request waits for more. */
const READ_BYTES = 1_048_576
const WAIT_MS = 30_000

/** What of a log is printed. */
export interface LogRequest {
  readonly loop: string
  readonly job: string
  readonly stream: JobStream
  /** First byte; default: the first that is kept. */
  readonly offset?: number
  /** Begin so many bytes before the end. */
  readonly tailBytes?: number
  /** Whether to go on until the job has ended. */
  readonly follow: boolean
}

/** Prints one log of a job to the stream of ours that has the same name. */
export async function printLog(ask: Ask, request: LogRequest, context: Context): Promise<void> {
  const target = request.stream === 'stdout' ? context.stdout : context.stderr
  await pipeline(Readable.from(partsOf(ask, request, context)), target, { end: false })
}

/** Without `follow`, what is there when it begins: a job that writes faster than we read must not hold us. */
async function* partsOf(ask: Ask, request: LogRequest, context: Context): AsyncGenerator<Buffer> {
  const { loop, job, stream, offset, tailBytes, follow } = request
  const read = { loop, job, stream, maxBytes: READ_BYTES, encoding: 'base64' } as const
  const from = tailBytes === undefined ? { ...(offset === undefined ? {} : { offset }) } : { tailBytes }
  let part = await ask((client) => client.job.logs({ ...read, ...from }, { signal: context.signal }))
  const { endOffset } = part
  const wanted = tailBytes === undefined ? (offset ?? 0) : part.offset
  if (part.offset > wanted) context.output.note(`The first ${part.offset} bytes of ${stream} are not kept any more.`)
  for (;;) {
    if (part.data !== '') yield Buffer.from(part.data, 'base64')
    if (part.eof || (!follow && part.nextOffset >= endOffset)) break
    const next = { offset: part.nextOffset, waitMs: follow ? WAIT_MS : 0 }
    part = await ask((client) => client.job.logs({ ...read, ...next }, { signal: context.signal }))
  }
  if (part.cut) context.output.note(`The disk had no room for what came after byte ${part.endOffset} of ${stream}.`)
}
