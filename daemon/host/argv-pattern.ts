import { LoopatError, MAX_PATTERN_BYTES } from '@loopatd/protocol'
import { isPlain } from './plain-text.ts'

/**
 * A pattern of arguments; `protocol/host.ts` tells how it is written. Arguments are compared byte by byte: one character
 * of the strings here is one byte, so that nothing which merely looks alike is ever equal.
 */
export interface ArgvPattern {
  /** First word: a plain name, or an absolute path. */
  readonly command: string
  readonly args: readonly PatternWord[]
  /** Whether any number of arguments may follow. */
  readonly open: boolean
}

/** An argument that is wanted: pieces between which anything may stand, or any one argument that is no option. */
export type PatternWord = { readonly kind: 'any' } | { readonly kind: 'text'; readonly pieces: readonly string[] }

/** A piece of a word as it was written; a star is one that no quote made an ordinary character. */
type Piece = { readonly star: true } | { readonly star: false; readonly text: string }

/** Bytes as characters, one each. */
export function bytesOf(text: string | Buffer): string {
  return (typeof text === 'string' ? Buffer.from(text, 'utf8') : text).toString('latin1')
}

/**
 * Reads a pattern.
 * @throws LoopatError `invalid_params` that says what is wrong with it
 */
export function parsePattern(text: string): ArgvPattern {
  const [first, ...rest] = splitWords(text)
  if (first === undefined) throw refuse(text, 'it names no command')
  const command = literal(first)
  if (command === undefined) throw refuse(text, 'its first word, the command, must not hold a "*"')
  if (command.includes('/') && !command.startsWith('/')) {
    throw refuse(text, 'its first word must be a plain name or an absolute path')
  }
  if (command === '' || command.endsWith('/')) throw refuse(text, 'its first word must be the name of a command')
  const open = rest.length > 0 && isStar(rest.at(-1))
  const args = (open ? rest.slice(0, -1) : rest).map(toWord)
  return { command, args, open }
}

/**
 * Reports whether arguments, without the command itself, are those of a pattern.
 * @param args one character per byte, see {@link bytesOf}
 */
export function matches({ args: wanted, open }: ArgvPattern, args: readonly string[]): boolean {
  if (open ? args.length < wanted.length : args.length !== wanted.length) return false
  return wanted.every((word, index) => matchesWord(word, args[index] ?? ''))
}

/**
 * A pattern that exactly one command matches, and only that; undefined when there is none, because an argument is no
 * text, holds what cannot be seen, or because all are too long.
 */
export function exactPattern(argv: readonly Buffer[]): string | undefined {
  const words = argv.map((word) => {
    const text = word.toString('utf8')
    return Buffer.from(text, 'utf8').equals(word) && isPlain(text) ? quoteWord(text) : undefined
  })
  const pattern = words.join(' ')
  return words.includes(undefined) || Buffer.byteLength(pattern) > MAX_PATTERN_BYTES ? undefined : pattern
}

/** A word as it is written in a pattern, and in a shell. */
export function quoteWord(text: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

function matchesWord(word: PatternWord, arg: string): boolean {
  if (word.kind === 'any') return !arg.startsWith('-') && !hasControl(arg)
  const [head = '', ...rest] = word.pieces
  const tail = rest.pop()
  if (tail === undefined) return arg === head
  if (arg.length < head.length + tail.length || !arg.startsWith(head) || !arg.endsWith(tail)) return false
  if (hasControl(arg)) return false
  // The earliest place for each piece leaves the most room for the next one.
  let at = head.length
  for (const piece of rest) {
    const found = arg.indexOf(piece, at)
    if (found < 0) return false
    at = found + piece.length
  }
  return at <= arg.length - tail.length
}

/** By bytes: those of other characters than ASCII are above them all, but for the C1 set, which takes two. */
function hasControl(arg: string): boolean {
  for (let index = 0; index < arg.length; index += 1) {
    const byte = arg.charCodeAt(index)
    if (byte < 0x20 || byte === 0x7f) return true
    const next = arg.charCodeAt(index + 1)
    if (byte === 0xc2 && next >= 0x80 && next <= 0x9f) return true
  }
  return false
}

function isStar(word: readonly Piece[] | undefined): boolean {
  return word?.length === 1 && word[0]?.star === true
}

function literal(word: readonly Piece[]): string | undefined {
  return word.some(({ star }) => star) ? undefined : word.map((piece) => (piece.star ? '' : piece.text)).join('')
}

function toWord(word: readonly Piece[]): PatternWord {
  if (isStar(word)) return { kind: 'any' }
  const pieces = ['']
  for (const piece of word) {
    if (piece.star) pieces.push('')
    else pieces.push((pieces.pop() ?? '') + bytesOf(piece.text))
  }
  return { kind: 'text', pieces }
}

function splitWords(text: string): Piece[][] {
  const words: Piece[][] = []
  const token = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|(\*)|([^\s'"\\*]+)|(\s+)|(.)/gsu
  let word: Piece[] | undefined
  for (const [, single, double, escaped, star, plain, space, wrong] of text.matchAll(token)) {
    if (wrong !== undefined) {
      throw refuse(text, wrong === '\\' ? 'it ends with a backslash' : `a ${wrong} in it is not closed`)
    }
    if (space !== undefined) {
      if (word !== undefined) words.push(word)
      word = undefined
      continue
    }
    word ??= []
    if (star !== undefined) word.push({ star: true })
    else word.push({ star: false, text: single ?? double?.replace(/\\(["\\])/g, '$1') ?? escaped ?? plain ?? '' })
  }
  if (word !== undefined) words.push(word)
  return words
}

function refuse(pattern: string, why: string): LoopatError {
  return new LoopatError('invalid_params', `the pattern ${JSON.stringify(pattern)} cannot be used: ${why}`, {
    next: "Write it like a command, such as 'gh pr view *'.",
  })
}
