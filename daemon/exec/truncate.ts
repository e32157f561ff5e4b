/** What is kept of output that is longer than somebody wants it, in memory that does not grow with the output. */
import { Transform, type TransformCallback } from 'node:stream'
import { Prefix } from '../lib/prefix.ts'
import { Ring } from '../lib/ring.ts'

const NEWLINE = 0x0a
/** Of the limit, the beginning and the end of the output each get this share. */
const SHARE = 0.45

/** What is missing. */
export interface Omitted {
  readonly bytes: number
  /** Lines that are missing as a whole. */
  readonly lines: number
}

/** Takes output piece by piece, and gives back what is kept of it. */
export interface Truncator {
  take(chunk: Buffer): void
  /** What is kept for certain, and was not given yet. */
  pass(): Buffer
  /** The rest of what is kept, when no more output is to come. */
  end(): Buffer
  /** Of what was taken so far. */
  readonly omitted: Omitted
}

/** Keeps the first bytes: for output that is no text. */
export class FirstBytes implements Truncator {
  readonly #kept: Prefix
  #dropped = 0
  #passed = 0

  /** @param limit in bytes */
  constructor(limit: number) {
    this.#kept = new Prefix(limit)
  }

  get omitted(): Omitted {
    return { bytes: this.#dropped, lines: 0 }
  }

  take(chunk: Buffer): void {
    this.#dropped += this.#kept.push(chunk).length
  }

  pass(): Buffer {
    const { bytes } = this.#kept
    const from = this.#passed
    this.#passed = bytes.length
    return bytes.subarray(from)
  }

  end(): Buffer {
    return this.pass()
  }
}

/**
 * Keeps text up to a limit as it is. Of longer text, whole lines of its beginning and of its end stay, each up to 45 %
 * of the limit, and a notice between them, which comes on top, says how much is missing (K-11). A line that alone is
 * longer than such a share is cut rather than dropped, but never within a character.
 */
export class HeadAndTail implements Truncator {
  readonly #limit: number
  /** Bytes that the beginning, and the end, may have. */
  readonly #share: number
  readonly #head: Prefix
  readonly #tail: Ring
  #total = 0
  #endsLine = true
  #newlines = 0
  /** Position behind the first newline that is behind the beginning. */
  #lineEnd: number | undefined
  /** Bytes that are in neither ring any more, and the position behind the last newline among them. */
  #lost = 0
  #lostLineEnd: number | undefined
  #passed = 0

  /** @param limit in bytes; with 0 nothing is kept, and there is no notice */
  constructor(limit: number) {
    this.#limit = limit
    this.#share = Math.floor(limit * SHARE)
    this.#head = new Prefix(this.#share)
    this.#tail = new Ring(limit - this.#share)
  }

  get omitted(): Omitted {
    if (this.#total <= this.#limit) return { bytes: 0, lines: 0 }
    const { bytes, lines } = this.#divide()
    return { bytes, lines }
  }

  take(chunk: Buffer): void {
    this.#count(chunk)
    this.#push(this.#head.push(chunk))
    this.#total += chunk.length
    if (chunk.length > 0) this.#endsLine = endsLine(chunk)
  }

  /** Whole lines of the beginning stay, whatever follows. */
  pass(): Buffer {
    const unpassed = this.#head.bytes.subarray(this.#passed)
    const lines = unpassed.subarray(0, unpassed.lastIndexOf(NEWLINE) + 1)
    this.#passed += lines.length
    return lines
  }

  end(): Buffer {
    const { head, tail, bytes, lines } = this.#divide()
    const kept = bytes === 0 || this.#limit === 0 ? [head, tail] : [head, notice(head, { bytes, lines }), tail]
    const text = Buffer.concat(kept)
    const from = this.#passed
    this.#passed = text.length
    return text.subarray(from)
  }

  #push(rest: Buffer): void {
    const lost = this.#tail.excess(rest.length)
    const held = this.#tail.length
    const through = rest.lastIndexOf(NEWLINE, lost - held - 1)
    const newline = lost > held && through >= 0 ? held + through : this.#tail.lastIndexOf(NEWLINE, lost)
    if (newline >= 0) this.#lostLineEnd = this.#share + this.#lost + newline + 1
    this.#lost += lost
    this.#tail.push(rest)
  }

  #count(chunk: Buffer): void {
    // Searching for one newline after the other is slower by far where lines are short.
    for (let index = 0; index < chunk.length; index += 1) {
      if (chunk[index] !== NEWLINE) continue
      this.#newlines += 1
      if (this.#lineEnd === undefined && this.#total + index >= this.#share) this.#lineEnd = this.#total + index + 1
    }
  }

  #divide(): { head: Buffer; tail: Buffer } & Omitted {
    const [first, last] = [this.#head.bytes, this.#tail.read()]
    if (this.#total <= this.#limit) return { head: first, tail: last, bytes: 0, lines: 0 }
    const head = this.#beginning(first)
    const tail = this.#ending(first, last)
    const bytes = this.#total - head.length - tail.length
    const missing = this.#newlines - newlinesIn(head) - newlinesIn(tail)
    // The rest of a line that is cut is no line, and the last one may have no newline.
    const isCut = head.length > 0 && !endsLine(head)
    const isOpen = tail.length === 0 && !this.#endsLine && (missing > 0 || !isCut)
    return { head, tail, bytes, lines: missing - (isCut && missing > 0 ? 1 : 0) + (isOpen ? 1 : 0) }
  }

  #beginning(first: Buffer): Buffer {
    const start = first.lastIndexOf(NEWLINE) + 1
    const isLong = (this.#lineEnd ?? this.#total) - start > this.#share
    return isLong ? first.subarray(0, first.length - brokenEnd(first)) : first.subarray(0, start)
  }

  #ending(first: Buffer, last: Buffer): Buffer {
    const before = last.subarray(0, last.length - this.#share)
    const window = last.subarray(before.length)
    if (endsLine(before)) return window
    const newline = window.indexOf(NEWLINE)
    const lineEnd = newline < 0 ? window.length : newline + 1
    const length = this.#total - window.length + lineEnd - this.#lineStart(first, before)
    return length > this.#share ? window.subarray(brokenStart(window)) : window.subarray(lineEnd)
  }

  /** Where the line begins that the given bytes before the end of the output break off in. */
  #lineStart(first: Buffer, before: Buffer): number {
    const newline = before.lastIndexOf(NEWLINE)
    if (newline >= 0) return this.#share + this.#lost + newline + 1
    return this.#lostLineEnd ?? first.lastIndexOf(NEWLINE) + 1
  }
}

/** Truncates a stream. What is certain to stay passes at once. */
export class TruncatingStream extends Transform {
  readonly truncator: Truncator

  constructor(truncator: Truncator) {
    super()
    this.truncator = truncator
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    this.truncator.take(chunk)
    callback(null, some(this.truncator.pass()))
  }

  override _flush(callback: TransformCallback): void {
    callback(null, some(this.truncator.end()))
  }
}

function some(bytes: Buffer): Buffer | null {
  return bytes.length === 0 ? null : bytes
}

function notice(head: Buffer, { bytes, lines }: Omitted): Buffer {
  const what = lines === 0 ? '' : `${lines} ${lines === 1 ? 'line' : 'lines'}, `
  const text = `[${what}${bytes} ${bytes === 1 ? 'byte' : 'bytes'} left out; for all of it, write to a file and read that in parts]`
  const gap = head.length === 0 ? '' : endsLine(head) ? '\n' : '\n\n'
  return Buffer.from(`${gap}${text}\n\n`)
}

function endsLine(bytes: Buffer): boolean {
  return bytes.at(-1) === NEWLINE
}

function newlinesIn(bytes: Buffer): number {
  let count = 0
  for (const byte of bytes) if (byte === NEWLINE) count += 1
  return count
}

/** Bytes at the end that begin a UTF-8 character and do not complete it. */
function brokenEnd(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0
    if (!isContinuation(byte)) return lengthOfCharacter(byte) > back ? back : 0
  }
  return 0
}

/** Bytes at the beginning that belong to a UTF-8 character before them. */
function brokenStart(bytes: Buffer): number {
  const start = bytes.subarray(0, 3).findIndex((byte) => !isContinuation(byte))
  return start < 0 ? Math.min(3, bytes.length) : start
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80
}

function lengthOfCharacter(lead: number): number {
  if (lead >= 0xf0) return 4
  if (lead >= 0xe0) return 3
  return lead >= 0xc0 ? 2 : 1
}
