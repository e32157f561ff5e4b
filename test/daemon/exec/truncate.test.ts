import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { FirstBytes, HeadAndTail, TruncatingStream, type Truncator } from '../../../daemon/exec/truncate.ts'
import { Random } from '../../harness/random.ts'

/** What is to be kept, the slow and plain way: of the whole text, with nothing that is remembered. */
function model(text: Buffer, limit: number): { kept: Buffer; bytes: number; lines: number } {
  if (text.length <= limit) return { kept: text, bytes: 0, lines: 0 }
  const share = Math.floor(limit * 0.45)
  const lines = linesOf(text)
  const head: Buffer[] = []
  const tail: Buffer[] = []
  const room = (parts: Buffer[]) => share - Buffer.concat(parts).length
  let from = 0
  let to = lines.length
  for (; (lines[from]?.length ?? 0) <= room(head); from += 1) head.push(lines[from] ?? Buffer.alloc(0))
  for (; (lines[to - 1]?.length ?? 0) <= room(tail); to -= 1) tail.unshift(lines[to - 1] ?? Buffer.alloc(0))
  const [first, last] = [lines[from] ?? Buffer.alloc(0), lines[to - 1] ?? Buffer.alloc(0)]
  const cutHead = first.length > share ? wholeCharacters(first.subarray(0, room(head)), 'start') : Buffer.alloc(0)
  const cutTail =
    last.length > share ? wholeCharacters(last.subarray(last.length - room(tail)), 'end') : Buffer.alloc(0)
  const [before, after] = [Buffer.concat([...head, cutHead]), Buffer.concat([cutTail, ...tail])]
  const shown = new Set([...(cutHead.length > 0 ? [from] : []), ...(cutTail.length > 0 ? [to - 1] : [])])
  const omitted = { bytes: text.length - before.length - after.length, lines: to - from - shown.size }
  return { kept: Buffer.concat([before, words(before, omitted), after]), ...omitted }
}

function words(head: Buffer, { bytes, lines }: { bytes: number; lines: number }): Buffer {
  const gap = head.length === 0 ? '' : head.at(-1) === 10 ? '\n' : '\n\n'
  const what = lines === 0 ? '' : lines === 1 ? '1 line, ' : `${lines} lines, `
  const size = bytes === 1 ? '1 byte' : `${bytes} bytes`
  return Buffer.from(`${gap}[${what}${size} left out; for all of it, write to a file and read that in parts]\n\n`)
}

function linesOf(text: Buffer): Buffer[] {
  const lines: Buffer[] = []
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf(10, from)
    const to = newline < 0 ? text.length : newline + 1
    lines.push(text.subarray(from, to))
    from = to
  }
  return lines
}

/** Without the part of a character at one side of valid text. */
function wholeCharacters(bytes: Buffer, side: 'start' | 'end'): Buffer {
  for (let cut = 0; cut < 4; cut += 1) {
    const rest = side === 'start' ? bytes.subarray(0, bytes.length - cut) : bytes.subarray(cut)
    if (!rest.toString().includes('\ufffd')) return rest
  }
  throw new Error('the text was not valid')
}

/** Feeds a truncator in pieces, and takes what passes at once or only in the end. */
function feed(truncator: Truncator, text: Buffer, random: Random): Buffer {
  const out: Buffer[] = []
  const isLive = random.below(2) === 0
  for (let from = 0; from < text.length; ) {
    const to = from + random.below(random.pick([2, 20, 400]))
    truncator.take(Buffer.from(text.subarray(from, to)))
    from = Math.min(to, text.length)
    if (isLive) out.push(Buffer.from(truncator.pass()))
  }
  return Buffer.concat([...out, truncator.end()])
}

function someText(random: Random): Buffer {
  const lines = random.below(random.pick([3, 12, 60]))
  const alphabet = ['a', 'é', '€', '😀', '\r', '\0', ' ']
  let text = ''
  for (let line = 0; line < lines; line += 1) {
    const length = random.below(random.pick([1, 4, 40, 300]) + 1)
    for (let index = 0; index < length; index += 1) text += random.pick(alphabet)
    if (line < lines - 1 || random.below(2) === 0) text += '\n'
  }
  return Buffer.from(text)
}

describe('HeadAndTail', () => {
  it('should keep what the plain way keeps, however the text is cut into pieces', () => {
    const random = Random.fromEnvironment('LOOPAT_TRUNCATE_SEED')
    for (let round = 0; round < 4000; round += 1) {
      const text = someText(random)
      const limit = 1 + random.below(random.pick([4, 30, 200, 1000, text.length + 2]))
      const truncator = new HeadAndTail(limit)
      const kept = feed(truncator, text, random)
      const { bytes, lines } = truncator.omitted
      const what = `seed ${random.seed}, round ${round}, limit ${limit}`
      const expected = model(text, limit)
      expect({ kept: kept.toString(), bytes, lines }, what).toEqual({ ...expected, kept: expected.kept.toString() })
    }
  })

  it('should take bytes that are no text, and count them', () => {
    const random = Random.fromEnvironment('LOOPAT_TRUNCATE_SEED')
    for (let round = 0; round < 500; round += 1) {
      const bytes = Buffer.from(Array.from({ length: random.below(500) }, () => random.below(256)))
      const limit = 1 + random.below(300)
      const truncator = new HeadAndTail(limit)
      const kept = feed(truncator, bytes, random).toString('latin1')
      const { bytes: missing } = truncator.omitted
      const text = bytes.toString('latin1')
      const [before = '', tail = ''] = kept.split(/\[(?:\d+ lines?, )?\d+ bytes? left out[^\]]*\]\n\n/)
      const head = missing === 0 ? before : kept.slice(0, text.length - missing - tail.length)
      expect(text.startsWith(head) && text.endsWith(tail)).toBe(true)
      expect(before.slice(head.length)).toMatch(missing === 0 ? /^$/ : /^\n{0,2}$/)
      expect(Math.max(head.length, tail.length)).toBeLessThanOrEqual(missing === 0 ? limit : limit * 0.45)
    }
  })

  it('should keep whole lines of both ends and say what is missing', () => {
    const text = Array.from({ length: 1000 }, (_, n) => `line ${n}\n`).join('')
    const truncator = new HeadAndTail(100)
    truncator.take(Buffer.from(text))
    const kept = truncator.end().toString()
    expect(kept).toBe(
      'line 0\nline 1\nline 2\nline 3\nline 4\nline 5\n\n' +
        `[989 lines, ${text.length - 87} bytes left out; for all of it, write to a file and read that in parts]\n\n` +
        'line 995\nline 996\nline 997\nline 998\nline 999\n',
    )
  })

  it('should keep both ends of a line that alone is too long', () => {
    const truncator = new HeadAndTail(20)
    truncator.take(Buffer.from(`${'a'.repeat(500)}${'z'.repeat(500)}\n`))
    expect(truncator.end().toString()).toMatch(/^a{9}\n\n\[983 bytes left out; .*\]\n\nz{8}\n$/)
    expect(truncator.omitted).toEqual({ bytes: 983, lines: 0 })
  })

  it('should keep nothing, and say nothing, with a limit of 0', () => {
    const truncator = new HeadAndTail(0)
    truncator.take(Buffer.from('one\ntwo\n'))
    expect([truncator.pass().length, truncator.end().length]).toEqual([0, 0])
    expect(truncator.omitted).toEqual({ bytes: 8, lines: 2 })
  })

  it('should hold no more than the limit, whatever comes', () => {
    const limit = 1_048_576
    const truncators = Array.from({ length: 8 }, () => new HeadAndTail(limit))
    const chunk = Buffer.alloc(65_536, 'y\n')
    const before = process.memoryUsage().arrayBuffers
    for (const truncator of truncators) for (let n = 0; n < 200; n += 1) truncator.take(chunk)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40 * limit)
    const kept = truncators.map((truncator) => truncator.end().length)
    for (const length of kept) expect(length).toBeLessThan(limit)
    expect(truncators.map(({ omitted }) => omitted.bytes > 11 * limit)).not.toContain(false)
  })
})

describe('FirstBytes', () => {
  it('should keep the first bytes and count the others', () => {
    const truncator = new FirstBytes(5)
    for (const piece of ['ab', 'cd', 'ef', 'gh']) truncator.take(Buffer.from(piece))
    expect(truncator.end().toString()).toBe('abcde')
    expect(truncator.omitted).toEqual({ bytes: 3, lines: 0 })
  })
})

describe('TruncatingStream', () => {
  it('should pass the beginning at once and the rest in the end', async () => {
    const stream = new TruncatingStream(new HeadAndTail(20))
    stream.write('one\nt')
    expect(String(stream.read())).toBe('one\n')
    stream.end('wo\n')
    expect((await buffer(stream)).toString()).toBe('two\n')
    const long = Readable.from([Buffer.from('one\n'), Buffer.alloc(1000, 'two\n'), Buffer.from('end\n')])
    const { truncator } = stream
    expect(truncator.omitted).toEqual({ bytes: 0, lines: 0 })
    const kept = await buffer(long.pipe(new TruncatingStream(new HeadAndTail(20))))
    expect(kept.toString()).toMatch(/^one\ntwo\n\n\[248 lines, 992 bytes left out; .*\]\n\ntwo\nend\n$/)
  })
})
