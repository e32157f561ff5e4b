/** What is written down of commands, and told to those who called them. Pure. */
import { type ArgvPattern, quoteWord } from './argv-pattern.ts'
import { shown, shownCommand } from './shown-text.ts'

/** Characters of a command that are kept. */
export const MAX_CHARACTERS = 4096
/** Bytes of it that are looked at: enough to see that what is kept is a secret. */
const MAX_BYTES = 2 * MAX_CHARACTERS
/** Characters of a pattern that are kept. */
const MAX_RULE = 512

/** Hides secrets in arguments. */
export type Mask = (argv: readonly string[]) => string[]

/** A command for the log: what cannot be seen as escapes, secrets hidden, and all together not too long. */
export function logged(argv: readonly Buffer[], mask: Mask): string[] {
  let left = MAX_CHARACTERS
  const words: string[] = []
  for (const word of mask(cut(argv).map(shown))) {
    if (left <= 0) return [...words, '…']
    words.push(shorten(word, left))
    left -= word.length + 1
  }
  return words
}

/** A pattern for the log: a secret may be in it, as in a command that was approved for always. */
export function loggedPattern({ command, args, open }: ArgvPattern, mask: Mask): string {
  const words = args.map((word) => (word.kind === 'any' ? '*' : word.pieces.join('*')))
  const all = [command, ...words, ...(open ? ['*'] : [])].map((word) => Buffer.from(word, 'latin1'))
  const text = mask(cut(all).map(shown)).map((word) => (/^[^\s'"]+$/.test(word) ? word : quoteWord(word)))
  return shorten(text.join(' '), MAX_RULE)
}

/** A command for the person who called it. */
export function told(argv: readonly Buffer[]): string {
  return shorten(shownCommand(cut(argv)), MAX_CHARACTERS)
}

function cut(argv: readonly Buffer[]): Buffer[] {
  let left = MAX_BYTES
  const words: Buffer[] = []
  for (const word of argv) {
    if (left <= 0) return [...words, Buffer.from('…')]
    words.push(word.length > left ? Buffer.concat([word.subarray(0, left), Buffer.from('…')]) : word)
    left -= word.length + 1
  }
  return words
}

function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text
}
