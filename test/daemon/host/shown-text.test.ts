import { describe, expect, it } from 'vitest'
import { isPlain } from '../../../daemon/host/plain-text.ts'
import { shown, shownCommand } from '../../../daemon/host/shown-text.ts'
import { Random } from '../../harness/random.ts'

/** Pieces that a hostile loop would use. */
const PIECES: readonly Buffer[] = [
  ...['a', 'é', '\\', '\\x', '\\u{', '}', 'n', ' ', "'", '"', '\n', '\t', '\r', '\0', '\u001b[2J', '\u007f'],
  ...['\u0085', '\u009b', '\u00a0', '\u00ad', '\u034f', '\u115f', '\u200b', '\u200d', '\u202e', '\u2028', '\u2066'],
  ...['\u2800', '\u3000', '\u3164', '\ufe0f', '\ufeff', '\ufffd', '\uffff', '\ue000', '\u{e0041}', '\u{1f600}', '👩‍💻'],
].map((text) => Buffer.from(text))
const NO_TEXT = [
  'ff',
  'c3',
  'c080',
  'c2',
  'e28080e2',
  'eda080',
  'edb080',
  'f4908080',
  'f8808080',
  '80',
  'f09f98',
  'f09f',
]
const ALL = [...PIECES, ...NO_TEXT.map((hex) => Buffer.from(hex, 'hex'))]

/** What the escapes say. */
function unescaped(text: string): Buffer {
  const parts = [...text.matchAll(/\\x([0-9a-f]{2})|\\u\{([0-9a-f]+)\}|\\([\\ntr])|([^\\])/gu)]
  expect(parts.map(([part]) => part).join('')).toBe(text)
  return Buffer.concat(
    parts.map(([, byte, point, short, plain]) => {
      if (byte !== undefined) return Buffer.from(byte, 'hex')
      if (point !== undefined) return Buffer.from(String.fromCodePoint(Number.parseInt(point, 16)))
      const named: Readonly<Record<string, string>> = { '\\': '\\', n: '\n', t: '\t', r: '\r' }
      return Buffer.from(plain ?? named[short ?? ''] ?? '')
    }),
  )
}

describe('bytes from a sandbox', () => {
  it.each<[string, string]>([
    ['a b', 'a b'],
    ['é 漢 😀', 'é 漢 😀'],
    ['a\nb\tc\r', 'a\\nb\\tc\\r'],
    ['\\n', '\\\\n'],
    ['\u001b[31m', '\\u{1b}[31m'],
    ['\u009b', '\\u{9b}'],
    ['a\u202eb', 'a\\u{202e}b'],
    ['a\u200bb', 'a\\u{200b}b'],
    ['a\u00a0b', 'a\\u{a0}b'],
    ['a\u3164b', 'a\\u{3164}b'],
    ['\ufeff', '\\u{feff}'],
    ['\u{e0041}', '\\u{e0041}'],
    ['\ufffd', '\ufffd'],
  ])('%j should be shown as %j', (text, expected) => {
    expect(shown(Buffer.from(text))).toBe(expected)
  })

  it.each<[string, string]>([
    ['ff', '\\xff'],
    ['c3', '\\xc3'],
    ['c328', '\\xc3('],
    ['c0af', '\\xc0\\xaf'],
    ['eda080', '\\xed\\xa0\\x80'],
    ['f09f9880', '😀'],
    ['f09f98', '\\xf0\\x9f\\x98'],
  ])('%s should be shown as %j', (hex, expected) => {
    expect(shown(Buffer.from(hex, 'hex'))).toBe(expected)
  })

  it('should be told exactly, in characters that can be seen', () => {
    const random = Random.fromEnvironment('LOOPAT_SHOWN_SEED')
    for (let round = 0; round < 1000; round += 1) {
      const bytes = Buffer.concat(Array.from({ length: random.below(7) }, () => random.pick(ALL)))
      const text = shown(bytes)
      const message = `${bytes.toString('hex')}, seed ${random.seed}`
      // Whoever reads the text knows the bytes: no two have one text.
      expect(unescaped(text), message).toEqual(bytes)
      expect(text, message).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{DI}]|(?! )\p{Zs}/u)
      expect(isPlain(text), message).toBe(true)
    }
  })

  it('should be told in one line, each word apart', () => {
    expect(shownCommand(['gh', 'a b', '', "it's", 'x\ny'].map((word) => Buffer.from(word)))).toBe(
      "gh 'a b' '' 'it'\\''s' 'x\\ny'",
    )
    const one = shownCommand([Buffer.from('gh'), Buffer.from("a' 'b")])
    expect(one).not.toBe(shownCommand([Buffer.from('gh'), Buffer.from('a'), Buffer.from('b')]))
  })
})
