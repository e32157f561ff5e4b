import type { Progress } from '@loopatd/protocol'
import { printable } from './text.ts'

/** Where progress is shown: stderr. */
export interface ProgressTarget {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  write(text: string): unknown
}

/** Erases the line and returns to its beginning. */
const ERASE = '\r\x1b[K'

/**
 * Shows what a long request does: on a terminal one line that is rewritten, elsewhere a line per message, so that logs
 * stay readable.
 */
export class StatusLine {
  readonly #target: ProgressTarget
  readonly #rewrites: boolean
  #shown = ''

  /** @param env `TERM=dumb` makes a terminal one that cannot rewrite lines */
  constructor(target: ProgressTarget, env: Readonly<Record<string, string | undefined>>) {
    this.#target = target
    this.#rewrites = target.isTTY === true && env.TERM !== 'dumb'
  }

  /** Shows what is done now. Nothing is written when it is what is shown already. */
  update(progress: Progress): void {
    const text = describe(progress)
    if (text === this.#shown) return
    this.#shown = text
    if (!this.#rewrites) {
      this.#target.write(`${text}\n`)
      return
    }
    // One cell is left free: a full line would wrap, and what has wrapped cannot be erased.
    const room = Math.max(1, (this.#target.columns ?? 80) - 1)
    this.#target.write(ERASE + cut(text, room))
  }

  /** Takes the line away, before anything else is written. Idempotent. */
  clear(): void {
    if (this.#rewrites && this.#shown !== '') this.#target.write(ERASE)
    if (this.#rewrites) this.#shown = ''
  }
}

function describe({ message, step, total }: Progress): string {
  const text = printable(message)
  if (step === undefined) return text
  return total === undefined ? `[${step}] ${text}` : `[${step}/${total}] ${text}`
}

/** The beginning of a text in at most `room` cells; a wide character counts as two, to be on the safe side. */
function cut(text: string, room: number): string {
  let used = 0
  let cutText = ''
  for (const character of text) {
    used += (character.codePointAt(0) ?? 0) < 0x300 ? 1 : 2
    if (used > room) return cutText
    cutText += character
  }
  return text
}
