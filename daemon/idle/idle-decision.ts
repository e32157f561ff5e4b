/** When a loop sleeps: pure. */
import { formatDuration, type IdleAfter, type IdleNext, type IdleWindow } from '@loopatd/protocol'

/** The window when nobody says otherwise (rule A-4). */
export const DEFAULT_WINDOW_MS = 1_800_000
/** Pause after the first failed stop, in milliseconds; doubles with each further one. */
const FIRST_RETRY_MS = 5_000
/** Longest pause between two attempts to stop, in milliseconds. */
const LONGEST_RETRY_MS = 300_000

/** Where windows come from. */
export interface WindowSources {
  /** `LOOPAT_CONTAINER_IDLE_MS`. */
  readonly environment: IdleWindow | undefined
  /** The loop's own. */
  readonly loop: IdleWindow | undefined
  /** `idle.after` of the configuration. */
  readonly config: IdleWindow | undefined
}

/** What of a loop decides when it sleeps. */
export interface IdleFacts {
  readonly isRunning: boolean
  /** Leases held on it. */
  readonly leases: number
  readonly window: IdleWindow
  /** Monotonic time in milliseconds of the last activity. */
  readonly idleSince: number
  /** Monotonic time in milliseconds before which a stop that failed is not tried again. */
  readonly notBefore: number
}

/** The window that counts (rule A-4). */
export function chooseWindow({ environment, loop, config }: WindowSources): IdleAfter {
  if (environment !== undefined) return { window: environment, from: 'environment' }
  if (loop !== undefined) return { window: loop, from: 'loop' }
  if (config !== undefined) return { window: config, from: 'config' }
  return { window: DEFAULT_WINDOW_MS, from: 'default' }
}

/** Monotonic time in milliseconds at which a loop is to be stopped; undefined when it is not. */
export function dueOf({ isRunning, leases, window, idleSince, notBefore }: IdleFacts): number | undefined {
  if (!isRunning || leases > 0 || window === 'never') return undefined
  return Math.max(idleSince + window, notBefore)
}

/** Pause until a stop that failed is tried again, in milliseconds. @param failures in a row, at least 1 */
export function retryPause(failures: number): number {
  return Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1))
}

/** Says what happens next. @param now both clocks, so that people see wall-clock time */
export function explain(facts: IdleFacts, now: { readonly monotonicMs: number; readonly date: Date }): IdleNext {
  if (!facts.isRunning) return { action: 'asleep', at: null, because: 'it does not run' }
  const due = dueOf(facts)
  if (due !== undefined) {
    const left = Math.max(0, due - now.monotonicMs)
    const at = new Date(now.date.getTime() + left).toISOString()
    return { action: 'sleep', at, because: `nobody uses it; it sleeps in ${formatDuration(left)}` }
  }
  if (facts.leases > 0) return { action: 'stay-awake', at: null, because: `${leases(facts.leases)} on it` }
  return { action: 'stay-awake', at: null, because: 'it is set never to sleep' }
}

function leases(count: number): string {
  return count === 1 ? 'there is a lease' : `there are ${count} leases`
}
