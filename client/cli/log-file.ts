import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { isLoopatError, LoopatError } from '@loopatd/protocol/error'

/** Bytes read at a time. */
const BLOCK_BYTES = 65_536
/** Between two looks at a file that is followed, in milliseconds. */
const POLL_MS = 250
const NEWLINE = 0x0a

/** The end of a file, and where it was. */
export interface Tail {
  readonly lines: readonly string[]
  /** Bytes of the file up to the end of the last line. */
  readonly offset: number
  /** Which file it was: another one may take its name. */
  readonly inode: number
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    throw new LoopatError('daemon_unreachable', `there is no log yet: ${path}`, { next: 'Run: loopctl daemon start' })
  }
}

async function readAt(file: FileHandle, start: number, end: number): Promise<Buffer> {
  const buffer = Buffer.alloc(end - start)
  const { bytesRead } = await file.read(buffer, 0, buffer.length, start)
  return buffer.subarray(0, bytesRead)
}

/**
 * Reads the last lines of a file from its end, so that its size does not matter. A line without its end is left out.
 * @throws LoopatError `daemon_unreachable` when there is no such file
 */
export async function lastLines(path: string, count: number): Promise<Tail> {
  const file = await openLog(path)
  try {
    const { size, ino } = await file.stat()
    let start = size
    const blocks: Buffer[] = []
    // One more: the newline before the first wanted line.
    for (let missing = count + 1; start > 0 && missing > 0; ) {
      const from = Math.max(0, start - BLOCK_BYTES)
      const block = await readAt(file, from, start)
      missing -= newlines(block)
      blocks.unshift(block)
      start = from
    }
    const end = Buffer.concat(blocks)
    const complete = end.subarray(0, end.lastIndexOf(NEWLINE) + 1)
    const lines = splitLines(complete)
    return { lines: count === 0 ? [] : lines.slice(-count), offset: start + complete.length, inode: ino }
  } finally {
    await file.close()
  }
}

function newlines(block: Buffer): number {
  let found = 0
  for (let at = block.indexOf(NEWLINE); at >= 0; at = block.indexOf(NEWLINE, at + 1)) found += 1
  return found
}

function splitLines(bytes: Buffer): string[] {
  const text = bytes.toString('utf8')
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

/**
 * Reports every line that is added to a file, also when another file takes its name, as at a rotation. While there is
 * none, it waits for one.
 * @throws the reason of `signal`: it ends in no other way
 */
export async function followLines(
  path: string,
  { from, onLine }: { from: Tail; onLine: (line: string) => void },
  signal: AbortSignal,
): Promise<never> {
  let { offset, inode } = from
  for (;;) {
    const added = await readAdded(path, { offset, inode }).catch(noneYet)
    for (const line of added?.lines ?? []) onLine(line)
    offset = added?.offset ?? offset
    inode = added?.inode ?? inode
    signal.throwIfAborted()
    // Whoever reads a file as it grows must look again; the abort is seen at the next look.
    await sleep(POLL_MS)
  }
}

/** At a rotation there is no file of the name for a moment. */
function noneYet(error: unknown): undefined {
  if (!isLoopatError(error, 'daemon_unreachable')) throw error
}

async function readAdded(path: string, before: { offset: number; inode: number }): Promise<Tail> {
  const file = await openLog(path)
  try {
    const { size, ino } = await file.stat()
    const start = ino === before.inode && size >= before.offset ? before.offset : 0
    const bytes = await readAt(file, start, Math.min(size, start + BLOCK_BYTES * 16))
    const complete = bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1)
    return { lines: splitLines(complete), offset: start + complete.length, inode: ino }
  } finally {
    await file.close()
  }
}
