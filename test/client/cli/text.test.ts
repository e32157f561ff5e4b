import { describe, expect, it } from 'vitest'
import { age, bytes, commandLine, count, printable, printableLines } from '../../../client/cli/text.ts'

describe('text for people', () => {
  it('should write control characters so that no terminal obeys them', () => {
    expect(printable('a\x1b[2J\r\nb\u009bm\x7f')).toBe('a\\x1b[2J\\x0d\\x0ab\\x9bm\\x7f')
  })

  it('should show characters that turn the direction of text round', () => {
    expect(printable('user\u202etxt.exe')).toBe('user\\u{202e}txt.exe')
  })

  it('should leave letters of all scripts and emoji as they are', () => {
    expect(printable('Grüße, 世界 👩‍🚀')).toBe('Grüße, 世界 👩‍🚀')
  })

  it('should keep line breaks and tabs where text may have lines', () => {
    expect(printableLines('a\n\tb\x1b')).toBe('a\n\tb\\x1b')
  })

  it.each([
    [0, '0s'],
    [59, '59s'],
    [60, '1m'],
    [3_599, '59m'],
    [86_399, '23h'],
    [86_400 * 41, '41d'],
    [-5, '0s'],
  ])('should shorten an age of %i seconds to %s', (seconds, text) => {
    const now = Date.parse('2026-01-02T03:04:05Z')
    expect(age(new Date(now - seconds * 1000).toISOString(), now)).toBe(text)
  })

  it('should say sizes in binary units', () => {
    expect([0, 1023, 1024, 1_500_000].map(bytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.4 MiB'])
    expect(bytes(null)).toBe('-')
    expect(age(null, 0)).toBe('-')
  })

  it('should quote what a shell would take apart', () => {
    expect(commandLine(['gh', '--a=b/c', 'a b', "it's", '', '$x', 'é'])).toBe(`gh --a=b/c 'a b' 'it'\\''s' '' '$x' 'é'`)
    expect(commandLine([])).toBe('')
  })

  it('should count things', () => {
    expect([count(1, 'loop'), count(2, 'loop')]).toEqual(['1 loop', '2 loops'])
  })
})
