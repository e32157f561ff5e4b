/** Lengths of time as people write them. Loads no library: the command line imports it. */

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const FORM = /^(?:\d{1,9}[dhms])+$/
const PART = /(\d+)([dhms])/g

/** What {@link parseDuration} accepts, for messages. */
export const DURATION_RULE = 'must be a length of time such as 90s, 10m, 2h, 1h30m or 7d'

/** Milliseconds of `90s`, `10m`, `2h`, `1h30m` or `7d`; undefined when the text is none of this kind, or zero. */
export function parseDuration(text: string): number | undefined {
  if (!FORM.test(text)) return undefined
  let ms = 0
  for (const [, number, unit = ''] of text.matchAll(PART)) ms += Number(number) * (UNITS[unit] ?? 0)
  return ms > 0 && Number.isSafeInteger(ms) ? ms : undefined
}

/** A length of time for people, exact to the second: `1h30m`, `45s`, `0s`; below a second as `250ms`. */
export function formatDuration(ms: number): string {
  if (ms > 0 && ms < 1000) return `${Math.ceil(ms)}ms`
  let rest = Math.max(0, Math.round(ms / 1000))
  let text = ''
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const number = Math.floor(rest / size)
    rest -= number * size
    if (number > 0) text += `${number}${unit}`
  }
  return text === '' ? '0s' : text
}
