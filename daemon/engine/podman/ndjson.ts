import type { Readable } from 'node:stream'
import { EngineError } from '../engine.ts'

/** A line longer than this is no message of podman's. */
const MAX_LINE_BYTES = 4 * 1024 * 1024

const NEWLINE = 0x0a

/**
 * Reads lines of JSON as they come. Lines are cut as bytes, so that a character split between chunks stays whole.
 * @returns each line's text, unparsed, without empty ones
 * @throws EngineError `connection_lost` when the stream closes without its end, `failed` when a line has no end
 */
export async function* readLines(stream: Readable): AsyncGenerator<string> {
  let rest: Buffer[] = []
  let restBytes = 0
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let start = 0
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        const line = Buffer.concat([...rest, chunk.subarray(start, end)])
          .toString()
          .trim()
        rest = []
        restBytes = 0
        start = end + 1
        if (line !== '') yield line
      }
      rest.push(chunk.subarray(start))
      restBytes += chunk.length - start
      if (restBytes > MAX_LINE_BYTES) throw new EngineError('failed', 'podman sent a line without end')
    }
  } catch (error) {
    if (error instanceof EngineError) throw error
    throw new EngineError('connection_lost', 'the connection to podman broke', { cause: error })
  }
  const last = Buffer.concat(rest).toString().trim()
  if (last !== '') yield last
}

/**
 * Parses one line.
 * @throws EngineError `failed` when it is no JSON object
 */
export function parseLine(line: string): Readonly<Record<string, unknown>> {
  const value = parse(line)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw new EngineError('failed', `podman sent a line that is no message: ${line.slice(0, 200)}`)
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new EngineError('failed', `podman sent a line that is no JSON: ${line.slice(0, 200)}`, { cause: error })
  }
}
