/** Words for people: what came from loops made harmless, times and sizes made short. Loads no library. */

/** Control characters, and those that turn the direction of text round: either can make a line lie. */
const UNSAFE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu
/** The same without line breaks and tabs. */
const UNSAFE_IN_LINES = /(?![\n\t])[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
}

/** Text that fits on one line and moves no terminal: unsafe characters are written as `\x1b`. */
export function printable(text: string): string {
  return text.replace(UNSAFE, escapeCharacter)
}

/** As {@link printable}, but line breaks and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(UNSAFE_IN_LINES, escapeCharacter)
}

const AGES = [
  { unit: 'd', seconds: 86_400 },
  { unit: 'h', seconds: 3_600 },
  { unit: 'm', seconds: 60 },
  { unit: 's', seconds: 1 },
] as const

/**
 * How long ago something was: `12s`, `5m`, `3h`, `41d`.
 * @param since ISO time; null gives `-`
 * @param now milliseconds since the epoch
 */
export function age(since: string | null, now: number): string {
  if (since === null) return '-'
  const seconds = Math.max(0, Math.floor((now - Date.parse(since)) / 1000))
  const fitting = AGES.find((entry) => seconds >= entry.seconds)
  return fitting === undefined ? '0s' : `${Math.floor(seconds / fitting.seconds)}${fitting.unit}`
}

/** A size in binary units: `512 B`, `1.4 MiB`; null gives `-`. */
export function bytes(size: number | null): string {
  if (size === null) return '-'
  let value = size
  let unit = 'B'
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 1024) break
    value /= 1024
    unit = next
  }
  return unit === 'B' ? `${value} B` : `${value.toFixed(1)} ${unit}`
}

/** Words as one line that could be typed again: those that a shell would take apart are quoted. */
export function commandLine(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
}

/** `1 loop`, `2 loops`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
