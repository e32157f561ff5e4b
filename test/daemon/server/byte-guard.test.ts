import { describe, expect, it } from 'vitest'
import { ByteGuard, MAX_HEADER_BYTES } from '../../../daemon/server/byte-guard.ts'

function feed(bytes: Buffer, pieces: (bytes: Buffer) => Buffer[], limit = 1000): string[] {
  const guard = new ByteGuard(limit)
  const bodies: string[] = []
  for (const piece of pieces(bytes)) {
    guard.push(piece)
    for (let body = guard.next(); body !== undefined; body = guard.next()) bodies.push(body.toString())
  }
  return bodies
}

const whole = (bytes: Buffer) => [bytes]
const single = (bytes: Buffer) => Array.from(bytes, (byte) => Buffer.from([byte]))

function message(body: string): string {
  return `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

describe('ByteGuard', () => {
  it.each([
    ['in one piece', whole],
    ['byte by byte', single],
  ])('should cut messages that come %s', (_name, pieces) => {
    const bodies = ['{"a":1}', '', 'ä€😀', 'x'.repeat(900)]
    expect(feed(Buffer.from(bodies.map(message).join('')), pieces)).toEqual(bodies)
  })

  it('should take headers in any case, in any order and with a content type', () => {
    const bytes = 'content-length:2\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{}'
    expect(feed(Buffer.from(bytes), whole)).toEqual(['{}'])
    expect(feed(Buffer.from('CONTENT-TYPE: x\r\nContent-Length: 2\r\n\r\n{}'), whole)).toEqual(['{}'])
  })

  it.each([
    ['something else', 'GET / HTTP/1.1\r\n\r\n'],
    ['a single wrong byte', '{'],
    ['a negative length', 'Content-Length: -5\r\n\r\n'],
    ['a length that is no number', 'Content-Length: 0x10\r\n\r\n'],
    ['a length of ten digits', 'Content-Length: 1000000000\r\n\r\n'],
    ['no length', 'Content-Type: text/plain\r\n\r\n'],
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n\r\n'],
    ['an empty header', '\r\n\r\n'],
    ['another header', 'Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n'],
    ['an endless header', `Content-Type: ${'x'.repeat(MAX_HEADER_BYTES)}`],
  ])('should refuse %s', (_name, bytes) => {
    expect(() => feed(Buffer.from(bytes), whole)).toThrow(expect.objectContaining({ code: 'protocol_error' }))
    expect(() => feed(Buffer.from(bytes), single)).toThrow(expect.objectContaining({ code: 'protocol_error' }))
  })

  it('should refuse a body above the limit before it has come, and take one at the limit', () => {
    expect(() => feed(Buffer.from('Content-Length: 1001\r\n\r\n'), whole)).toThrow(
      expect.objectContaining({ code: 'message_too_large', message: expect.stringContaining('1001') }),
    )
    expect(feed(Buffer.from(message('x'.repeat(1000))), whole)).toEqual(['x'.repeat(1000)])
  })

  it('should tell whether a message has begun', () => {
    const guard = new ByteGuard(10)
    expect(guard.next()).toBeUndefined()
    expect(guard.isPartial).toBe(false)
    guard.push(Buffer.from('Content-Length: 2\r\n\r\n'))
    expect(guard.next()).toBeUndefined()
    expect(guard.isPartial).toBe(true)
    guard.push(Buffer.from('{}'))
    expect(guard.next()?.toString()).toBe('{}')
    expect(guard.next()).toBeUndefined()
    expect(guard.isPartial).toBe(false)
  })
})
