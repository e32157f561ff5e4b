/** Which way is good. */
export type Better = 'lower' | 'higher'

/** What is measured in. */
export type Unit = 'ms' | 'MB/s' | 'MiB' | '% cpu'

/** One side of a comparison, over all rounds; numbers are in the unit of the row. */
export interface Figure {
  readonly label: string
  readonly best: number
  readonly median: number
  /** 95 of 100 samples are as good as this, or better. */
  readonly p95: number
  readonly worst: number
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
  readonly better: Better
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
export function figure(label: string, samples: readonly number[], better: Better = 'lower'): Figure {
  if (samples.length === 0) throw new RangeError(`no samples of ${label}`)
  const sorted = [...samples].sort((a, b) => (better === 'lower' ? a - b : b - a))
  const median = (rank(sorted, 0.5) + (sorted[Math.floor(sorted.length / 2)] ?? Number.NaN)) / 2
  const at = (share: number) => rank(sorted, share)
  return { label, best: at(0), median, p95: at(0.95), worst: at(1), samples: sorted.length }
}

/** Holds a subject against something else. */
export function compare(subject: Figure, other: Figure): Comparison {
  const ratio = other.median === 0 ? null : subject.median / other.median
  return { ...other, ratio, difference: subject.median - other.median }
}
