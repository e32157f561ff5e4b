import type { LoopCause } from '@loopatd/protocol'
import type { Clock } from '../lib/clock.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import type { IdleLoops } from './idle-loops.ts'
import type { IdleScheduler } from './idle-scheduler.ts'

/** A loop that was in use within this time is likely to be wanted again at once: it makes no room, in milliseconds. */
const FRESH_MS = 10_000

/** What the room is made of. */
export interface IdleRoomOptions {
  /** How many loops may run; undefined: any number. */
  readonly maxRunning: number | undefined
  readonly scheduler: Pick<IdleScheduler, 'facts' | 'idle' | 'isIdle' | 'isRunning' | 'running'>
  readonly clock: Clock
  readonly sleep: IdleLoops['sleep']
  readonly log: Logger
}

/** Keeps to `idle.max_running`: before a loop starts, those that have been idle for longest sleep. None in use ever does. */
export class IdleRoom implements AsyncDisposable {
  readonly #options: IdleRoomOptions
  readonly #mutex = new KeyedMutex()
  /** Loops that are about to run. */
  readonly #starting = new Set<string>()
  readonly #closed = new AbortController()
  #trimming: Promise<void> | undefined

  constructor(options: IdleRoomOptions) {
    this.#options = options
  }

  /**
   * Makes room for a loop. When all others are in use it starts all the same: whoever is in use is worth more than a limit.
   * @returns to be disposed when the loop runs, or does not
   * @throws the reason of the signal
   */
  async make(
    loop: { readonly id: string; readonly name: string },
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<Disposable> {
    const { maxRunning, log } = this.#options
    if (maxRunning === undefined) return { [Symbol.dispose]: () => undefined }
    const clear = async () => {
      this.#starting.add(loop.id)
      const why = `makes room for ${loop.name}: at most ${maxRunning} may run`
      const onSleep = () => onProgress({ message: `Putting another loop to sleep: at most ${maxRunning} may run` })
      try {
        await this.#clear(maxRunning, { why, onSleep }, signal)
      } catch (error) {
        this.#starting.delete(loop.id)
        throw error
      }
      const count = this.#count()
      if (count > maxRunning)
        log.info({ loop: loop.id, count, maxRunning }, 'more loops run than should: all are in use')
    }
    await this.#mutex.run('room', clear, signal)
    return {
      [Symbol.dispose]: () => {
        this.#starting.delete(loop.id)
        this.trim()
      },
    }
  }

  /**
   * Puts loops to sleep, in the background, as long as too many run: those that were in use when room was to be made, or
   * started at the same time.
   */
  trim(): void {
    const { maxRunning } = this.#options
    if (maxRunning === undefined || this.#closed.signal.aborted || this.#count() <= maxRunning) return
    this.#trimming ??= this.#trim(maxRunning).finally(() => {
      this.#trimming = undefined
    })
  }

  /** Ends what goes on in the background. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error('the room was closed'))
    await this.#trimming
  }

  /** Those that were in use just now, or to which something was done, are looked at again later. */
  async #trim(maxRunning: number): Promise<void> {
    const { clock, scheduler } = this.#options
    const { signal } = this.#closed
    const how = { why: `at most ${maxRunning} may run`, onSleep: () => undefined }
    try {
      while (this.#count() > maxRunning) {
        await this.#mutex.run('room', () => this.#clear(maxRunning, how, signal), signal)
        if (this.#count() <= maxRunning || scheduler.idle().length === 0) return
        await clock.sleep(FRESH_MS, signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** Waits for no loop's turn: whoever waits for this may have one. */
  async #clear(
    maxRunning: number,
    { why, onSleep }: { why: string; onSleep: () => void },
    signal: AbortSignal,
  ): Promise<void> {
    const { scheduler, sleep, log } = this.#options
    for (const id of this.#stale()) {
      if (this.#count() <= maxRunning) return
      onSleep()
      const isStillIdle = () => scheduler.isIdle(id)
      const cause = (): LoopCause => ({ by: 'limit', text: why })
      try {
        await sleep(id, { isStillIdle, cause, unlessBusy: true }, signal)
      } catch (error) {
        if (signal.aborted) throw error
        log.warn({ loop: id, err: error }, 'a loop that was to make room cannot be stopped')
      }
    }
  }

  /** Idle loops that nobody has wanted for a while, the longest idle first. */
  #stale(): string[] {
    const { scheduler, clock } = this.#options
    const since = clock.monotonicMs() - FRESH_MS
    const stale = scheduler.idle().filter((id) => scheduler.facts(id).idleSince <= since)
    return stale.filter((id) => !this.#starting.has(id))
  }

  /** Loops that run or are about to. */
  #count(): number {
    const { scheduler } = this.#options
    return scheduler.running + [...this.#starting].filter((id) => !scheduler.isRunning(id)).length
  }
}
