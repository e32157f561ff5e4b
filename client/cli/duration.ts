import { DURATION_RULE, parseDuration } from '@loopatd/protocol/duration'
import { InvalidArgumentError } from 'commander'

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
/** What a timer of the daemon takes. */
const MAX_MS = 2_147_483_647

/**
 * Reads a time such as `500ms`, `1.5s`, `2m` or `1h`; a number alone counts seconds.
 * @returns milliseconds, at least one
 */
export function readDuration(text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)(ms|[smhd]?)$/.exec(text) ?? []
  const ms = Math.round(Number(number) * (UNITS[unit === '' ? 's' : unit] ?? 1))
  if (number === '' || ms < 1)
    throw new InvalidArgumentError('It is written as a number with ms, s, m or h, such as 30s.')
  if (ms > MAX_MS) throw new InvalidArgumentError('It must be 24 days at most.')
  return ms
}

/** A time as {@link readDuration} reads it, in the largest unit that it is a whole number of. */
export function writeDuration(ms: number): string {
  const [unit = 'ms', size = 1] = Object.entries(UNITS).findLast(([, each]) => ms % each === 0) ?? []
  return `${ms / size}${unit}`
}

/** Reads a length of time of days and months, too, to the second: `90s`, `1h30m` or `7d`. @returns milliseconds */
export function readSpan(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError(`It ${DURATION_RULE}.`)
  return ms
}
