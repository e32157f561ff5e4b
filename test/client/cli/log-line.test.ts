import { describe, expect, it } from 'vitest'
import { formatLogLine } from '../../../client/cli/log-line.ts'

describe('a line of the log', () => {
  const time = '2026-01-02T03:04:05.678Z'

  it('should be time, level, message and fields', () => {
    const line = JSON.stringify({ level: 'warn', time, pid: 7, loop: 'a\x1b', n: 3, msg: 'slow' })
    expect(formatLogLine(line, false)).toBe(`${time} WARN  slow loop=a\\x1b n=3\n`)
  })

  it('should be followed by where an error comes from', () => {
    const line = JSON.stringify({ level: 'error', time, msg: 'failed', err: { stack: 'Error: x\n    at y' } })
    expect(formatLogLine(line, false)).toBe(`${time} ERROR failed\n      Error: x\n          at y\n`)
  })

  it.each(['not json', '[1]', '"text"', '{"half":'])('should be shown as it is when it is no object: %s', (line) => {
    expect(formatLogLine(line, false)).toBe(`${line}\n`)
  })

  it('should have colour when wanted', () => {
    expect(formatLogLine(JSON.stringify({ level: 'error', time, msg: 'x' }), true)).toContain('\x1b[31mERROR')
  })
})
