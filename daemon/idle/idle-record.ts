/** `idle.json` of a loop: what its sleep depends on across restarts of the daemon. */
import { IdleWindow } from '@loopatd/protocol'
import { z } from 'zod'

/** Version of the records that this daemon writes. */
const VERSION = 1

const Activity = z.strictObject({
  at: z.iso.datetime(),
  what: z.string(),
  /** The run of the machine that `awakeMs` belongs to. */
  boot: z.string(),
  /** Monotonic time of the activity. */
  awakeMs: z.number(),
  /** The run of the container that it was seen in. */
  startedAt: z.string().optional(),
  /** Whether a lease was held when this was written: the activity then went on. */
  isHeld: z.boolean(),
})

const Hold = z.strictObject({
  id: z.string().min(1).max(64),
  reason: z.string(),
  since: z.iso.datetime(),
  /** How long it was to last, in milliseconds. */
  forMs: z.number().positive(),
  /** When it ends, by the wall clock, as it was when it was made. */
  until: z.iso.datetime(),
  boot: z.string(),
  /** When it ends, in monotonic time of that run of the machine. */
  untilAwakeMs: z.number(),
})

const schema = z.strictObject({
  version: z.literal(VERSION),
  after: IdleWindow.optional(),
  activity: Activity.optional(),
  holds: z.array(Hold).max(1024).optional(),
})

/** The last activity of a loop. */
export type IdleActivity = z.infer<typeof Activity>
/** A hold on a loop. */
export type IdleHold = z.infer<typeof Hold>
/** What is kept of a loop. */
export type IdleRecord = Omit<z.infer<typeof schema>, 'version'>

/** A moment on both clocks. */
export interface Moment {
  readonly date: Date
  readonly monotonicMs: number
  /** The run of the machine. */
  readonly boot: string
}

/** Reads a record; undefined when the text is none: then nothing is known, which harms nobody. */
export function parseRecord(text: string): IdleRecord | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined
  }
  const parsed = schema.safeParse(value)
  if (!parsed.success) return undefined
  const { version: _version, ...record } = parsed.data
  return record
}

/** The text of a record. */
export function formatRecord(record: IdleRecord): string {
  return `${JSON.stringify({ version: VERSION, ...record })}\n`
}

/**
 * Milliseconds that a hold has left. Within one run of the machine time awake counts; after a reboot only the wall clock
 * knows, and however that was set, a hold never lasts longer than it was made for.
 */
export function holdLeft(hold: IdleHold, { date, monotonicMs, boot }: Moment): number {
  const left = hold.boot === boot ? hold.untilAwakeMs - monotonicMs : Date.parse(hold.until) - date.getTime()
  return Math.min(left, hold.forMs)
}

/**
 * Monotonic time from which the window of a container that was found running counts. Only what surely was the last
 * activity is believed; in any doubt the window begins anew, so that nothing sleeps too early.
 * @param startedAt the run of the container that is there
 */
export function idleSince(
  activity: IdleActivity | undefined,
  startedAt: string,
  { monotonicMs, boot }: Moment,
): number {
  if (activity === undefined || activity.isHeld) return monotonicMs
  if (activity.boot !== boot || activity.startedAt !== startedAt) return monotonicMs
  return Math.min(activity.awakeMs, monotonicMs)
}
