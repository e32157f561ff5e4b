import { FRAME_HEADER_BYTES, MAX_ARGUMENTS_BYTES, MAX_FRAME_BYTES } from '@loopatd/protocol'
import { CHANNEL, encodeFrame, FrameDecoder, frameHeader } from '@loopatd/protocol/frame'
import { describe, expect, it } from 'vitest'
import { isCommandName, notice, parseRequest, RequestReader, refusal } from '../../../daemon/host/host-request.ts'
import { Random } from '../../harness/random.ts'
import { requestFrame, requestPayload } from './kit.ts'

function bytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => 1 + random.below(255)))
}

describe('a request', () => {
  it('should arrive byte for byte, however it is cut', () => {
    const random = Random.fromEnvironment('LOOPAT_REQUEST_SEED')
    for (let round = 0; round < 500; round += 1) {
      const argv = [
        Buffer.from('tool'),
        ...Array.from({ length: random.below(5) }, () => bytes(random, random.below(9))),
      ]
      const cwd = Buffer.concat([Buffer.from('/'), bytes(random, random.below(20))])
      const cols = 1 + random.below(9999)
      const frame = requestFrame({ argv, cwd, size: `${cols}x7`, env: ['TERM=xterm-256color', 'LINES=40'] })
      const behind = bytes(random, random.below(4))
      const reader = new RequestReader()
      let found: ReturnType<RequestReader['push']>
      let rest = Buffer.concat([frame, behind])
      while (found === undefined) {
        const length = 1 + random.below(rest.length)
        found = reader.push(rest.subarray(0, length))
        rest = rest.subarray(length)
      }
      expect(Buffer.concat([found.head, rest]), `seed ${random.seed}`).toEqual(behind)
      expect(parseRequest(found.payload), `seed ${random.seed}`).toEqual({
        argv,
        cwd,
        size: { cols, rows: 7 },
        env: { TERM: 'xterm-256color', LINES: '40' },
      })
    }
  })

  it('should keep empty words and know no size without a terminal', () => {
    const payload = requestPayload({ argv: ['tool', '', 'a', ''] })
    expect(parseRequest(payload).argv.map(String)).toEqual(['tool', '', 'a', ''])
    expect(parseRequest(payload).size).toBeUndefined()
  })

  it('should never be whole when the end is missing', () => {
    const frame = requestFrame({ argv: ['tool', 'x'], env: ['TERM=xterm'] })
    for (let length = 0; length < frame.length; length += 1) {
      expect(new RequestReader().push(frame.subarray(0, length))).toBeUndefined()
    }
  })

  it('should be refused, or be another request, for every payload that is cut', () => {
    const payload = requestPayload({ argv: ['tool', 'x'], env: ['TERM=xterm'], size: '80x24' })
    const name = payload.lastIndexOf('tool')
    for (let length = 0; length < name; length += 1) {
      const cut = payload.subarray(0, length)
      // What ends right behind the empty field has one empty word, which is no name of a command.
      const found = length === 0 ? undefined : attempt(cut)
      expect(found === undefined || !isCommandName(found.argv[0] ?? Buffer.alloc(0)), String(length)).toBe(true)
    }
  })

  it('should be read in time when it comes in bits', () => {
    const frame = requestFrame({ argv: ['tool', 'x'.repeat(1_000_000)] })
    const reader = new RequestReader()
    const began = performance.now()
    let found: ReturnType<RequestReader['push']>
    for (let at = 0; at < frame.length; at += 10) found = reader.push(frame.subarray(at, at + 10))
    expect(found?.payload).toHaveLength(frame.length - FRAME_HEADER_BYTES)
    expect(performance.now() - began).toBeLessThan(5_000)
  })
})

describe('a forged frame', () => {
  it.each([CHANNEL.stdin, CHANNEL.stdout, CHANNEL.stderr, 4, 0x47, 255])('should be refused: channel %i', (channel) => {
    const frame = requestFrame({ argv: ['tool'] })
    frame[0] = channel
    expect(() => new RequestReader().push(frame)).toThrow('does not begin with a request')
  })

  it.each([0, MAX_FRAME_BYTES + 1, 0x7fffffff, 0xffffffff])('should be refused: length %i', (length) => {
    expect(() => new RequestReader().push(frameHeader(CHANNEL.control, length))).toThrow(RangeError)
  })

  it('should be refused by its first bytes, and not be waited for', () => {
    const reader = new RequestReader()
    const [a, b] = [frameHeader(CHANNEL.control, MAX_FRAME_BYTES + 1).subarray(0, 4), Buffer.from([1])]
    expect(reader.push(a)).toBeUndefined()
    expect(() => reader.push(b)).toThrow(RangeError)
  })
})

describe('a payload', () => {
  it.each<[string, readonly string[], string]>([
    ['nothing', [''], 'no request'],
    ['another verb', ['ran', '1', '/w', '', '', 'tool'], 'no request'],
    ['a verb with more behind it', ['run ', '1', '/w', '', '', 'tool'], 'no request'],
    ['no version', ['run'], 'no request'],
    ['another version', ['run', '2', '/w', '', '', 'tool'], 'another version'],
    ['a version that only begins so', ['run', '10', '/w', '', '', 'tool'], 'another version'],
    ['no directory', ['run', '1', '', '', '', 'tool'], 'no directory'],
    ['a directory that is too long', ['run', '1', `/${'x'.repeat(4096)}`, '', '', 'tool'], 'no directory'],
    ['no size', ['run', '1', '/w'], 'no request'],
    ['a bad size', ['run', '1', '/w', '80', '', 'tool'], 'no size'],
    ['a size of nothing', ['run', '1', '/w', '0x24', '', 'tool'], 'no size'],
    ['a size with zeros before it', ['run', '1', '/w', '080x24', '', 'tool'], 'no size'],
    ['a huge size', ['run', '1', '/w', '80x10000', '', 'tool'], 'no size'],
    ['a negative size', ['run', '1', '/w', '-1x24', '', 'tool'], 'no size'],
    ['a size with a line behind it', ['run', '1', '/w', '80x24\n', '', 'tool'], 'no size'],
    ['no empty field', ['run', '1', '/w', '', 'tool'], 'no command'],
    ['no words', ['run', '1', '/w', '', 'TERM=x'], 'no command'],
    ['only an environment', ['run', '1', '/w', ''], 'no command'],
  ])('should be refused: %s', (_what, fields, why) => {
    const payload = Buffer.from(fields.join('\0'))
    expect(() => parseRequest(payload)).toThrow(RangeError)
    expect(() => parseRequest(payload)).toThrow(why)
  })

  it('should be refused with more arguments than any command takes', () => {
    const fits = 'x'.repeat(MAX_ARGUMENTS_BYTES - 'tool'.length - 2)
    expect(parseRequest(requestPayload({ argv: ['tool', fits] })).argv).toHaveLength(2)
    expect(() => parseRequest(requestPayload({ argv: ['tool', `${fits}x`] }))).toThrow('arguments have more than')
  })

  it('should be refused with more words than any command takes', () => {
    const words = Array.from({ length: 65_000 }, () => 'x')
    expect(parseRequest(requestPayload({ argv: ['tool', ...words] })).argv).toHaveLength(65_001)
    const began = performance.now()
    for (const byte of [0, 0x78]) {
      const payload = Buffer.alloc(MAX_FRAME_BYTES, byte)
      payload.write('run\x001\0/w\0\0\0tool')
      for (let at = 20; at < payload.length; at += 2) payload[at] = 0
      expect(() => parseRequest(payload)).toThrow('more than 65536 fields')
    }
    expect(performance.now() - began).toBeLessThan(2_000)
  })

  it('should not let a NUL turn one word into a variable, or a variable into a word', () => {
    const { argv, env } = parseRequest(requestPayload({ argv: ['tool', 'a\0TERM=evil\0b'], env: ['TERM=ok'] }))
    expect(argv.map(String)).toEqual(['tool', 'a', 'TERM=evil', 'b'])
    expect(env).toEqual({ TERM: 'ok' })
    const forged = parseRequest(requestPayload({ argv: ['tool'], env: ['TERM=a\0\0sh', '-c'] }))
    // Who may send variables may send words: it says nothing that it could not say anyway.
    expect(forged.argv.map(String)).toEqual(['sh', '-c', '', 'tool'])
  })

  it.each([
    'PATH=/tmp',
    'LD_PRELOAD=/x.so',
    'LD_LIBRARY_PATH=/x',
    'GIT_SSH_COMMAND=sh',
    'GIT_DIR=/x',
    'NODE_OPTIONS=--require=/x',
    'HOME=/x',
    'term=xterm',
    'TERM',
    '=x',
    'TERM=',
    'TERM=../../x',
    'TERM=/etc/passwd',
    'TERM=a b',
    'TERM=x\ny',
    `TERM=${'x'.repeat(65)}`,
    'TERM=é',
    'COLUMNS=0',
    'COLUMNS=-1',
    'COLUMNS=10000',
    'COLUMNS=8 0',
    'LINES=80\n',
    'NO_COLOR=a b',
    'NO_COLOR=\u001b[31m',
    '__proto__=x',
    'constructor=x',
    'TERM =x',
    ' TERM=x',
  ])('should lose a variable that is none of its business: %j', (variable) => {
    expect(parseRequest(requestPayload({ argv: ['tool'], env: [variable] })).env).toEqual({})
  })

  it('should keep the variables that a command may know', () => {
    const env = ['TERM=xterm-256color', 'COLUMNS=80', 'LINES=9999', 'NO_COLOR=', 'NO_COLOR=1']
    expect(parseRequest(requestPayload({ argv: ['tool'], env })).env).toEqual({
      TERM: 'xterm-256color',
      COLUMNS: '80',
      LINES: '9999',
      NO_COLOR: '1',
    })
  })
})

describe('the name of a command', () => {
  it.each(['gh', 'g++', 'python3.11', '7z', 'a_b-c'])('may be %s', (name) => {
    expect(isCommandName(Buffer.from(name))).toBe(true)
  })

  it.each([
    '',
    '.',
    '..',
    '../x',
    'a/b',
    '/bin/sh',
    '-c',
    '.hidden',
    'a b',
    'gh\n',
    'gh\0',
    'ɡh',
    'gh;id',
    'x'.repeat(256),
  ])('may not be %j', (name) => {
    expect(isCommandName(Buffer.from(name))).toBe(false)
  })
})

describe('an answer', () => {
  it('should be text for the person, and then the exit code', () => {
    const frames = new FrameDecoder().push(refusal('no', 126))
    expect(frames.map(({ channel, payload }) => [channel, payload.toString()])).toEqual([
      [CHANNEL.stderr, 'loopat-host: no\n'],
      [CHANNEL.control, '{"type":"exit","code":126}'],
    ])
    expect(notice('wait')).toEqual(encodeFrame(CHANNEL.stderr, Buffer.from('loopat-host: wait\n')))
  })
})

function attempt(payload: Buffer) {
  try {
    return parseRequest(payload)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
