import { quoteWord } from './argv-pattern.ts'
import { isPlain } from './plain-text.ts'

/** Bytes from a sandbox as text that says exactly what they are: what cannot be seen is written as an escape. */
export function shown(bytes: Buffer): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const length = characterAt(bytes, at)
    const character = length === 0 ? '' : bytes.toString('utf8', at, at + length)
    if (length === 0) text += `\\x${(bytes[at] ?? 0).toString(16).padStart(2, '0')}`
    else if (character === '\\') text += '\\\\'
    else text += isPlain(character) ? character : escaped(character)
    at += Math.max(1, length)
  }
  return text
}

/** A command as one line, quoted. Never read by a shell: escapes stand in it. */
export function shownCommand(argv: readonly Buffer[]): string {
  return argv.map((word) => quoteWord(shown(word))).join(' ')
}

function escaped(character: string): string {
  if (character === '\n') return '\\n'
  if (character === '\t') return '\\t'
  if (character === '\r') return '\\r'
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
}

/** Bytes of the character that begins here; 0 when what is there is no text. */
function characterAt(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0
  const length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0
  if (length < 2) return length
  const character = bytes.subarray(at, at + length)
  return Buffer.from(character.toString('utf8'), 'utf8').equals(character) ? length : 0
}
