/** Sizes as people write them. Loads no library: the command line imports it. */

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }

/** What {@link parseSize} accepts, for messages. */
export const SIZE_RULE = 'must be a size such as 64k, 512m or 4g'

/** Bytes of `100`, `64k`, `512m`, `1.5g` or `2TiB`, 1024 to a `k`; undefined when the text is none of this kind. */
export function parseSize(text: string): number | undefined {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text) ?? []
  return number === '' ? undefined : Math.floor(Number(number) * (UNITS[unit.toLowerCase()] ?? 1))
}
