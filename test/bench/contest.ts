import type { Bed } from './bed.ts'
import { type Better, compare, figure, type Row, type Unit } from './figure.ts'

/** One of those that are measured side by side. */
export interface Side {
  readonly label: string
  /** Does it once. @returns the value, in the unit of the row */
  sample(signal: AbortSignal): Promise<number>
}

/** A subject and what it is held against, ready to be measured. */
export interface Contest {
  /** Labels of the sides; the subject's comes first. */
  readonly labels: readonly string[]
  /** Measures every side once. @returns a value for each label */
  round(signal: AbortSignal): Promise<number[]>
  readonly note?: string
  /** Gives back what the contest acquired. */
  end?(): Promise<void>
}

/** How much is done. */
export interface Scale {
  /** A few rounds of everything, to see that it works. */
  readonly quick: boolean
}

/** A row that can be measured. */
export interface RowPlan {
  readonly group: string
  readonly name: string
  readonly unit: Unit
  /** Default: lower. */
  readonly better?: Better
  /** Rounds in a full run. */
  readonly rounds: number
  /** How many loops the daemon knows meanwhile; default: one. */
  readonly known?: number
  prepare(bed: Bed, scale: Scale): Promise<Contest>
}

/** Rounds in a quick run. */
const QUICK_ROUNDS = 2

/** A contest whose sides take turns: A B A B, so that whatever else the machine does meets all of them alike. */
export function inTurn(
  [subject, ...against]: readonly [Side, ...Side[]],
  rest: Omit<Contest, 'labels' | 'round'> = {},
): Contest {
  const sides = [subject, ...against]
  const round = async (signal: AbortSignal) => {
    const values: number[] = []
    for (const side of sides) {
      signal.throwIfAborted()
      values.push(await side.sample(signal))
    }
    return values
  }
  return { ...rest, labels: sides.map(({ label }) => label), round }
}

/** Milliseconds that an action takes. */
export async function timed(action: () => Promise<unknown>): Promise<number> {
  const begin = performance.now()
  await action()
  return performance.now() - begin
}

/** Something done many times in one sample, for what is too short to be timed alone. @returns milliseconds of one */
export async function timedEach(times: number, action: () => Promise<unknown>): Promise<number> {
  const total = await timed(async () => {
    for (let time = 0; time < times; time += 1) await action()
  })
  return total / times
}

/** Measures one row: a round that does not count, to warm everything up, then those that do. */
export async function measure(plan: RowPlan, bed: Bed, scale: Scale, signal: AbortSignal): Promise<Row> {
  await bed.fill(plan.known ?? 1, signal)
  const contest = await plan.prepare(bed, scale)
  try {
    const rounds: number[][] = []
    await contest.round(signal)
    const wanted = scale.quick ? Math.min(QUICK_ROUNDS, plan.rounds) : plan.rounds
    while (rounds.length < wanted) rounds.push(await contest.round(signal))
    return toRow(plan, contest, rounds)
  } finally {
    await contest.end?.()
  }
}

function toRow(plan: RowPlan, { labels, note }: Contest, rounds: readonly (readonly number[])[]): Row {
  const { group, name, unit, better = 'lower' } = plan
  const samples = (side: number) => rounds.map((values) => values[side] ?? Number.NaN)
  const [subject, ...others] = labels.map((label, side) => figure(label, samples(side), better))
  if (subject === undefined || others.length === 0) throw new Error(`${group}: ${name} is compared with nothing`)
  const against = others.map((other) => compare(subject, other))
  return { group, name, unit, better, subject, against, note: note ?? null }
}
