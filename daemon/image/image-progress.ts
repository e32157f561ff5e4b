/** Turns what an engine says while it works into lines for people (I-5). */
import type { EngineProgress, ProgressSink } from '../engine/engine.ts'
import type { OnProgress } from '../lib/progress.ts'

/** Milliseconds between two lines of detail within one step. */
const DETAIL_INTERVAL_MS = 1000

const MAX_DETAIL = 120

/** What a step is about, by its instruction; the first match counts. */
const LABELS: readonly (readonly [RegExp, string])[] = [
  [/^FROM\b/, 'base image'],
  [/\bapt-get\b/, 'system packages'],
  [/\b(?:useradd|groupadd)\b/, 'user setup'],
  [/^COPY ca\//, 'certificate authorities'],
  [/^(?:ADD|COPY)\b/, 'files'],
  [/^(?:ARG|ENV)\b/, 'environment'],
  [/^RUN\b/, 'commands'],
]

/** Names the step that an instruction of a recipe makes. */
export function labelStep(instruction: string): string {
  return LABELS.find(([pattern]) => pattern.test(instruction))?.[1] ?? 'settings'
}

/** `Building sandbox image: system packages (step 5/10)`. */
export function formatStep(heading: string, step: EngineProgress): string {
  const label = labelStep(step.message.replace(/^STEP \d+(?:\/\d+)?: /, ''))
  return `${heading}: ${label} (step ${step.step}${step.total === undefined ? '' : `/${step.total}`})`
}

/**
 * Makes a sink for one engine operation. Every step is passed on; of the output in between, a line now and then, so that
 * a long step is seen to move without flooding whoever listens.
 * @param now milliseconds of a clock that never jumps
 */
export function describeProgress(heading: string, onProgress: OnProgress, now: () => number): ProgressSink {
  let prefix = heading
  let position: { step?: number; total?: number } = {}
  let quietUntil = Number.NEGATIVE_INFINITY
  return (progress) => {
    if (progress.step !== undefined && progress.step !== position.step) {
      prefix = formatStep(heading, progress)
      position = { step: progress.step, ...(progress.total === undefined ? {} : { total: progress.total }) }
      quietUntil = now() + DETAIL_INTERVAL_MS
      onProgress({ message: prefix, ...position })
      return
    }
    const detail = clean(progress.message)
    if (detail === '' || now() < quietUntil) return
    quietUntil = now() + DETAIL_INTERVAL_MS
    onProgress({ message: `${prefix}: ${detail}`, ...position })
  }
}

/** Output of programs in an image may hold anything; what reaches a terminal is one plain line. */
function clean(line: string): string {
  return line
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, MAX_DETAIL)
}
