/** What is measured in. */
export type Unit = 'ms' | 'MB/s' | 'MiB' | '% cpu'

/** One side of a comparison, over all rounds; numbers are in the unit of the row. */
export interface Figure {
  readonly label: string
  readonly median: number
  readonly p95: number
  readonly min: number
  readonly max: number
  readonly samples: number
}

/** What the subject is held against. */
export interface Comparison extends Figure {
  /** Median of the subject divided by this median; null when this one is 0. */
  readonly ratio: number | null
  /** Median of the subject less this median. */
  readonly difference: number
}

/** One row of the table: a subject and what it was measured against, in the same rounds. */
export interface Row {
  readonly group: string
  readonly name: string
  readonly unit: Unit
  /** Which way is good. */
  readonly better: 'lower' | 'higher'
  readonly subject: Figure
  /** Never empty: a figure without its comparison says nothing. */
  readonly against: readonly Comparison[]
  /** What else was found, such as calls that were counted. */
  readonly note: string | null
}

/** The value below which a share of the sorted samples lies, the nearest rank. */
function rank(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

/** Sums up samples. @throws RangeError when there are none */
export function figure(label: string, samples: readonly number[]): Figure {
  if (samples.length === 0) throw new RangeError(`no samples of ${label}`)
  const sorted = [...samples].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const median = (rank(sorted, 0.5) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
  return { label, median, p95: rank(sorted, 0.95), min: rank(sorted, 0), max: rank(sorted, 1), samples: sorted.length }
}

/** Holds a subject against something else. */
export function compare(subject: Figure, other: Figure): Comparison {
  const ratio = other.median === 0 ? null : subject.median / other.median
  return { ...other, ratio, difference: subject.median - other.median }
}
