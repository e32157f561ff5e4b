import { isLoopatError } from '@loopatd/protocol/error'
import { paint, wantsColour } from './colour.ts'
import { InterruptedError, UsageError } from './exit.ts'
import { type ProgressTarget, StatusLine } from './progress.ts'
import { printable, printableLines } from './text.ts'

/** A standard stream as far as output needs it. */
export type OutputTarget = ProgressTarget

/** What loopctl writes: results to stdout, everything else to stderr. */
export class Output {
  readonly #stdout: OutputTarget
  readonly #stderr: OutputTarget
  readonly #debug: boolean
  readonly #colour: { readonly stdout: boolean; readonly stderr: boolean }
  /** Shows what a request does; taken away before anything else is written. */
  readonly progress: StatusLine

  /** @param env `NO_COLOR`, `TERM`, and `LOOPAT_LOG_LEVEL=debug`, with which errors are shown with their causes */
  constructor(stdout: OutputTarget, stderr: OutputTarget, env: Readonly<Record<string, string | undefined>>) {
    this.#stdout = stdout
    this.#stderr = stderr
    this.#debug = env.LOOPAT_LOG_LEVEL === 'debug' || env.LOOPAT_LOG_LEVEL === 'trace'
    this.#colour = { stdout: wantsColour(stdout, env), stderr: wantsColour(stderr, env) }
    this.progress = new StatusLine(stderr, env)
  }

  /** Whether results get colour. */
  get coloured(): boolean {
    return this.#colour.stdout
  }

  /** Writes text to stdout as it is: it must be printable already. */
  text(text: string): void {
    this.progress.clear()
    this.#stdout.write(text)
  }

  /** Writes one line of result, made printable. */
  line(text: string): void {
    this.text(`${printable(text)}\n`)
  }

  /** Writes a value as indented JSON. */
  json(value: unknown): void {
    this.text(`${toJson(value, 2)}\n`)
  }

  /** Writes a value as one line of JSON. */
  jsonLine(value: unknown): void {
    this.text(`${toJson(value)}\n`)
  }

  /** Tells people something beside the result. */
  note(text: string): void {
    this.progress.clear()
    this.#stderr.write(`${printableLines(text)}\n`)
  }

  /** Writes `loopctl: <what failed>` and `  → <what to do next>` to stderr. */
  error(error: unknown): void {
    this.progress.clear()
    const { message, next } = describeError(error)
    const head = this.#colour.stderr ? paint('red', 'loopctl:') : 'loopctl:'
    this.#stderr.write(`${head} ${printableLines(message).trimEnd().replaceAll('\n', '\n  ')}\n`)
    for (const fact of factsOf(error)) this.#stderr.write(`    ${printable(fact)}\n`)
    if (next !== undefined) this.#stderr.write(`  → ${printableLines(next).trimEnd().replaceAll('\n', '\n    ')}\n`)
    if (this.#debug) this.#stderr.write(causes(error))
  }
}

/** Details that say to people what the message only counts: what `rm` would lose. */
const LOST_WORK = ['commits', 'files'] as const
/** How many facts of a kind are printed. */
const MAX_FACTS = 50

function factsOf(error: unknown): string[] {
  if (!isLoopatError(error, 'unpromoted_work')) return []
  return LOST_WORK.flatMap((kind) => {
    const found = error.details?.[kind]
    const facts = Array.isArray(found) ? found.filter((fact) => typeof fact === 'string') : []
    const more = facts.length - MAX_FACTS
    return more > 0 ? [...facts.slice(0, MAX_FACTS), `and ${more} more ${kind}`] : facts
  })
}

function describeError(error: unknown): { message: string; next: string | undefined } {
  if (error instanceof InterruptedError) return { message: error.message, next: undefined }
  if (isLoopatError(error) || error instanceof UsageError) return { message: error.message, next: error.next }
  return {
    message: error instanceof Error ? error.message : String(error),
    next: 'This looks like a defect of loopctl. Run it again with LOOPAT_LOG_LEVEL=debug to see where it comes from.',
  }
}

function causes(error: unknown): string {
  let text = ''
  for (let current = error; current instanceof Error; current = current.cause) {
    text += `${printableLines(current.stack ?? current.message)}\n`
  }
  return text
}

/** JSON of which no terminal takes a part for a command: JSON itself leaves DEL and the C1 controls as they are. */
function toJson(value: unknown, indent?: number): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  return (JSON.stringify(value, null, indent) ?? 'null').replace(/[\u007f-\u009f]/g, escaped)
}
