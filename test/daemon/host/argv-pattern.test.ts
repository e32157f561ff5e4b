import { MAX_PATTERN_BYTES } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { bytesOf, exactPattern, matches, parsePattern } from '../../../daemon/host/argv-pattern.ts'
import { Random } from '../../harness/random.ts'

const isMatched = (pattern: string, ...args: string[]) => matches(parsePattern(pattern), args.map(bytesOf))

describe('a pattern', () => {
  it.each<[string, string[], boolean]>([
    ['gh pr view *', ['pr', 'view'], true],
    ['gh pr view *', ['pr', 'view', '12', '--web'], true],
    ['gh pr view *', ['pr', 'list'], false],
    ['gh pr view *', ['--repo', 'x', 'pr', 'view'], false],
    ['gh pr view *', ['--', 'pr', 'view'], false],
    ['gh pr view *', ['pr', 'view\n'], false],
    ['gh pr view *', ['pr view'], false],
    ['gh pr view *', ['pr', 'vіew'], false], // a Cyrillic letter
    ['gh pr view *', ['pr', ' view'], false],
    ['gh', [], true],
    ['gh', ['x'], false],
    ['gh *', [], true],
    ['gh pr * diff', ['pr', '12', 'diff'], true],
    ['gh pr * diff', ['pr', '--web', 'diff'], false],
    ['gh pr * diff', ['pr', 'a', 'b', 'diff'], false],
    ['gh pr * diff', ['pr', 'a\nb', 'diff'], false],
    ['gh pr * diff', ['pr', '', 'diff'], true],
    ['deploy prod-*', ['prod-a'], true],
    ['deploy prod-*', ['prod-'], true],
    ['deploy prod-*', ['prod-a\u001b[2J'], false],
    ['deploy prod-*', ['prod-a\u0085'], false],
    ['deploy prod-*', ['prod-é'], true],
    ['deploy prod-*', ['xprod-a'], false],
    ['deploy *-a-*-b', ['x-a-y-b'], true],
    ['deploy *-a-*-b', ['-a--b'], true],
    ['deploy *-a-*-b', ['-a-b'], false],
    ['deploy a*a', ['a'], false],
    ['deploy a*a', ['aa'], true],
    ["echo '*'", ['*'], true],
    ["echo '*'", ['x'], false],
    ['echo \\*', ['*'], true],
    ['echo "a b" c\\ d', ['a b', 'c d'], true],
    ["echo ''", [''], true],
    ["echo ''", [], false],
    ['echo "say \\"hi\\" \\n"', ['say "hi" \\n'], true],
    ["echo 'it'\\''s'", ["it's"], true],
  ])('%s, called with %j: %s', (pattern, args, expected) => {
    expect(isMatched(pattern, ...args)).toBe(expected)
  })

  it.each([
    ['', 'names no command'],
    ['   ', 'names no command'],
    ['g* pr', 'must not hold a "*"'],
    ['./gh pr', 'plain name or an absolute path'],
    ['bin/gh', 'plain name or an absolute path'],
    ['../gh', 'plain name or an absolute path'],
    ["'' x", 'name of a command'],
    ['/usr/bin/ x', 'name of a command'],
    ["gh 'pr", 'is not closed'],
    ['gh "pr', 'is not closed'],
    ['gh pr\\', 'ends with a backslash'],
  ])('should be refused: %j', (pattern, why) => {
    expect(() => parsePattern(pattern)).toThrow(why)
  })

  it('should compare bytes that are no text', () => {
    const pattern = parsePattern('tool \u00ff')
    expect(matches(pattern, [bytesOf('\u00ff')])).toBe(true)
    expect(matches(pattern, [bytesOf(Buffer.from([0xff]))])).toBe(false)
    expect(matches(parsePattern('tool *'), [bytesOf(Buffer.from([0xff, 0x0a]))])).toBe(true)
  })
})

describe('an exact pattern', () => {
  it('should match its command, and nothing that differs', () => {
    const random = Random.fromEnvironment('LOOPAT_PATTERN_SEED')
    const alphabet = ['a', '*', "'", '"', '\\', ' ', '-', 'é', '$', '`', '~', '#', '']
    const word = () => Array.from({ length: random.below(5) }, () => alphabet[random.below(alphabet.length)]).join('')
    for (let round = 0; round < 2000; round += 1) {
      const args = Array.from({ length: random.below(4) }, word)
      const text = exactPattern(['tool', ...args].map((arg) => Buffer.from(arg)))
      const pattern = parsePattern(text ?? '')
      expect(matches(pattern, args.map(bytesOf)), `${text}, seed ${random.seed}`).toBe(true)
      const others = [...args]
      others[random.below(args.length + 1)] = `${word()}x`
      const same = others.length === args.length && others.every((other, index) => other === args[index])
      expect(matches(pattern, others.map(bytesOf)), `${text}, seed ${random.seed}`).toBe(same)
    }
  })

  it('should not exist for what cannot be written in one', () => {
    expect(exactPattern([Buffer.from('tool'), Buffer.from('a\nb')])).toBeUndefined()
    expect(exactPattern([Buffer.from('tool'), Buffer.from([0xff])])).toBeUndefined()
    expect(exactPattern([Buffer.from('tool'), Buffer.from('a\u202eb')])).toBeUndefined()
    expect(exactPattern([Buffer.from('tool'), Buffer.from('a\u00a0b')])).toBeUndefined()
  })

  it('should not be longer than a pattern may be', () => {
    const fits = 'x'.repeat(MAX_PATTERN_BYTES - 'tool '.length)
    expect(exactPattern([Buffer.from('tool'), Buffer.from(fits)])).toHaveLength(MAX_PATTERN_BYTES)
    expect(exactPattern([Buffer.from('tool'), Buffer.from(`${fits}x`)])).toBeUndefined()
  })
})
