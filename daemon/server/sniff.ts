/** Decides by its first bytes what a connection is. */
import type { Socket } from 'node:net'

/** First byte of a raw stream's line; no header of a message begins with it. */
const STREAM_LINE = /^STREAM ([0-9a-f]{16,128})\n/
const MAX_LINE_BYTES = 160

/** What a connection turned out to be, with the bytes that were read behind that. */
export type Sniffed =
  | { readonly kind: 'messages'; readonly head: Buffer }
  | { readonly kind: 'stream'; readonly token: string; readonly head: Buffer }
  /** It sent nothing in time, hung up, or sent a malformed line. */
  | { readonly kind: 'nothing'; readonly reason: string }

function judge(bytes: Buffer): Sniffed | undefined {
  const text = bytes.toString('latin1', 0, MAX_LINE_BYTES)
  if (!text.startsWith('S')) return { kind: 'messages', head: bytes }
  const line = STREAM_LINE.exec(text)
  if (line?.[1] !== undefined) return { kind: 'stream', token: line[1], head: bytes.subarray(line[0].length) }
  if (!text.includes('\n') && text.length < MAX_LINE_BYTES) return undefined
  return { kind: 'nothing', reason: 'its STREAM line is malformed' }
}

/**
 * Reads until it is clear what the connection is. The socket is paused afterwards, so that nothing is lost before its
 * owner listens.
 * @param limitMs milliseconds that the client may take
 */
export function sniff(socket: Socket, limitMs: number): Promise<Sniffed> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0)
    const settle = (outcome: Sniffed) => {
      clearTimeout(timer)
      socket.pause()
      socket.off('data', onData).off('end', onGone).off('close', onGone)
      resolve(outcome)
    }
    const onData = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      const outcome = judge(bytes)
      if (outcome !== undefined) settle(outcome)
    }
    const onGone = () => settle({ kind: 'nothing', reason: 'it hung up' })
    const timer = setTimeout(() => settle({ kind: 'nothing', reason: 'it sent nothing in time' }), limitMs).unref()
    socket.on('data', onData).once('end', onGone).once('close', onGone)
  })
}
