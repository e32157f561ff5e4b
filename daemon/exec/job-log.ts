import { type CheckedParamsOf, LoopatError, type ResultOf } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import { type JobPlace, lookAtLog, readSegment, type Segment } from './job-room.ts'

type Params = CheckedParamsOf<'job/logs'>
type Result = ResultOf<'job/logs'>

/** Milliseconds between two looks for more. */
const LOOK_MS = 100
/** How often a log that changes while it is read is read again. */
const MAX_ATTEMPTS = 5

/** Where and how a log is read. */
export interface LogSource {
  readonly place: JobPlace
  /** Whether nothing is added to it any more. */
  readonly isDrained: () => Promise<boolean>
  readonly clock: Clock
}

/**
 * Reads a part of a log, and waits for it if that is wanted.
 * @throws `log_unreadable`, `offset_invalid`, the reason of the signal
 */
export async function readLog(source: LogSource, params: Params, signal: AbortSignal): Promise<Result> {
  const { clock } = source
  const deadline = clock.monotonicMs() + params.waitMs
  for (;;) {
    // Asked first: what is read afterwards is all there will be.
    const isDrained = await source.isDrained()
    signal.throwIfAborted()
    const { bytes, offset, isCut, ...ends } = await readOnce(source.place, params)
    const isLast = isDrained && offset + bytes.length >= ends.endOffset
    const text = params.encoding === 'utf8' && !isLast ? wholeCharacters(bytes) : bytes
    const nextOffset = offset + text.length
    const eof = isDrained && nextOffset >= ends.endOffset
    if (text.length > 0 || eof || clock.monotonicMs() >= deadline) {
      return { data: text.toString(params.encoding), offset, nextOffset, ...ends, eof, cut: isCut }
    }
    await clock.sleep(Math.min(LOOK_MS, deadline - clock.monotonicMs()), signal)
  }
}

/** A log is written, and its beginning removed, while it is read. */
async function readOnce(place: JobPlace, params: Params) {
  for (let attempt = 1; ; attempt += 1) {
    const sight = await lookAtLog(place, params.stream)
    if (sight === undefined) throw unreadable(place)
    const { segments, isCut } = sight
    const firstOffset = segments[0]?.offset ?? 0
    const last = segments.at(-1) ?? { offset: 0, size: 0 }
    const endOffset = last.offset + last.size
    const offset = beginOf(params, { firstOffset, endOffset })
    const bytes = await readFrom(place, { segments, params, offset })
    if (bytes !== undefined) return { bytes, offset, firstOffset, endOffset, isCut }
    if (attempt === MAX_ATTEMPTS) throw unreadable(place)
  }
}

/** Where to begin to read. @throws `offset_invalid` */
export function beginOf(
  { offset, tailBytes, stream }: Pick<Params, 'offset' | 'tailBytes' | 'stream'>,
  { firstOffset, endOffset }: { readonly firstOffset: number; readonly endOffset: number },
): number {
  if (offset !== undefined && offset > endOffset) {
    throw new LoopatError('offset_invalid', `offset ${offset} is beyond the end of ${stream}, which is ${endOffset}`, {
      next: 'Read from `endOffset` on, or from an offset before it.',
      details: { firstOffset, endOffset },
    })
  }
  return Math.max(firstOffset, offset ?? (tailBytes === undefined ? 0 : endOffset - tailBytes))
}

async function readFrom(
  place: JobPlace,
  { segments, params, offset }: { segments: readonly Segment[]; params: Params; offset: number },
): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let at = offset
  let left = params.maxBytes
  for (const segment of segments) {
    const position = at - segment.offset
    const length = Math.min(segment.size - position, left)
    if (position < 0 || length <= 0) continue
    const part = await readSegment(place, { stream: params.stream, offset: segment.offset }, { position, length })
    if (part === undefined) return undefined
    parts.push(part)
    at += part.length
    left -= part.length
    if (part.length < length) break
  }
  return Buffer.concat(parts)
}

/** Bytes without the beginning of a character at their end, unless there is nothing else. */
export function wholeCharacters(bytes: Buffer): Buffer {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0
    if (byte < 0x80) break
    if (byte < 0xc0) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return length > back ? bytes.subarray(0, bytes.length - back) : bytes
  }
  return bytes
}

function unreadable({ id }: JobPlace): LoopatError {
  return new LoopatError(
    'log_unreadable',
    `the log of job ${id} cannot be read: its files in /loopat/run are not what it wrote`,
    {
      next: `Look at /loopat/run/job/${id} in the loop.`,
      details: { job: id },
    },
  )
}
