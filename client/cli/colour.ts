/** Colours in use: few, and none carries meaning alone. */
const CODES = {
  bold: [1, 22],
  cyan: [36, 39],
  dim: [2, 22],
  green: [32, 39],
  red: [31, 39],
  yellow: [33, 39],
} as const satisfies Record<string, readonly [on: number, off: number]>

export type Colour = keyof typeof CODES

/** Wraps text in a colour. Whether colour is wanted is the caller's to decide: see {@link wantsColour}. */
export function paint(colour: Colour, text: string): string {
  const [on, off] = CODES[colour]
  return `\x1b[${on}m${text}\x1b[${off}m`
}

/** Whether a stream gets colour: only a terminal that is not `dumb`, and only without `NO_COLOR` (B-4). */
export function wantsColour(
  target: { readonly isTTY?: boolean | undefined },
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  return target.isTTY === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb'
}
