import type { Clock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import { parseProgress, printable } from './git-text.ts'

/** Least milliseconds between two messages about one stage. */
const INTERVAL_MS = 250

/**
 * Turns git's progress lines into progress messages: each stage once at its begin and its end, and between them a few
 * times a second. Other lines are left out.
 * @param what begins each message: `fetching web`
 */
export function reportProgress(what: string, onProgress: OnProgress, clock: Clock): (line: string) => void {
  let stage = ''
  let percent = -1
  let last = Number.NEGATIVE_INFINITY
  return (line) => {
    const progress = parseProgress(line)
    if (progress === undefined) return
    const now = clock.monotonicMs()
    const again = progress.stage === stage
    if (again && (progress.percent === percent || (progress.percent < 100 && now - last < INTERVAL_MS))) return
    stage = progress.stage
    percent = progress.percent
    last = now
    onProgress({ message: printable(`${what}: ${stage.toLowerCase()} ${percent} %`) })
  }
}
