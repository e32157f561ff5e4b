import type { Logger } from '../log.ts'

/** Lines of a level that are written per period; more are counted. */
const LINES = 100
const PERIOD_MS = 10_000

type LimitedLevel = 'debug' | 'info' | 'warn'

/** What is left of a period. */
interface Period {
  readonly written: Record<LimitedLevel, number>
  timer: NodeJS.Timeout | undefined
}

/**
 * A log of what clients do: however much that is, it neither fills the disk nor takes the daemon's time. Lines beyond the
 * limit are counted, and the count is logged when the period is over. Errors are defects of ours and always logged.
 */
export class LimitedLog implements Logger {
  readonly #log: Logger
  readonly #fields: object
  /** Shared with all children. */
  readonly #period: Period

  /** @param log where the lines go */
  constructor(log: Logger, fields: object = {}, period?: Period) {
    this.#log = log
    this.#fields = fields
    this.#period = period ?? { written: { debug: 0, info: 0, warn: 0 }, timer: undefined }
  }

  debug(fields: object, message: string): void {
    this.#write('debug', fields, message)
  }

  info(fields: object, message: string): void {
    this.#write('info', fields, message)
  }

  warn(fields: object, message: string): void {
    this.#write('warn', fields, message)
  }

  error(fields: object, message: string): void {
    this.#log.error({ ...this.#fields, ...fields }, message)
  }

  /** A log with further fields, under the same limit. */
  child(fields: object): LimitedLog {
    return new LimitedLog(this.#log, { ...this.#fields, ...fields }, this.#period)
  }

  /** Ends the period: logs what was left out. */
  flush(): void {
    const { written, timer } = this.#period
    clearTimeout(timer)
    this.#period.timer = undefined
    for (const level of ['debug', 'info', 'warn'] as const) {
      const more = written[level] - LINES
      written[level] = 0
      if (more > 0) this.#log[level]({ lines: more }, 'more lines about clients were left out')
    }
  }

  #write(level: LimitedLevel, fields: object, message: string): void {
    const { written } = this.#period
    written[level] += 1
    this.#period.timer ??= setTimeout(() => this.flush(), PERIOD_MS).unref()
    if (written[level] <= LINES) this.#log[level]({ ...this.#fields, ...fields }, message)
  }
}
