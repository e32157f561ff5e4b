import type { Readable } from 'node:stream'

/** Bytes kept of a stream, and how many were dropped. */
export interface Collected {
  readonly bytes: Buffer
  readonly dropped: number
}

/**
 * Reads a stream to its end and keeps its beginning. What is beyond the limit is read and dropped, so that the
 * producer is never blocked by it.
 * @param maxBytes how much to keep
 */
export async function collect(stream: Readable, maxBytes: number): Promise<Collected> {
  const kept: Buffer[] = []
  let size = 0
  let dropped = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, Math.max(0, maxBytes - size))
    if (part.length > 0) kept.push(part)
    size += part.length
    dropped += chunk.length - part.length
  }
  return { bytes: Buffer.concat(kept, size), dropped }
}
