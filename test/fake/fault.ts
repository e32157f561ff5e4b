import { EngineError } from '../../daemon/engine/engine.ts'
import { deferred } from '../../daemon/lib/deferred.ts'

/** Every call of the engine port, by room and name. */
export type FakeOperation =
  | `container.${'create' | 'start' | 'stop' | 'remove' | 'rename' | 'commit' | 'inspect' | 'list' | 'exec'}`
  | `image.${'inspect' | 'list' | 'pull' | 'build' | 'import' | 'tag' | 'untag' | 'cleanUp'}`
  | `network.${'ensure' | 'remove' | 'list'}`
  | 'ping'
  | 'info'

/** How a planned failure behaves. */
export interface FailOptions {
  /** How many calls fail; default 1. */
  readonly times?: number
  /** Whether the call first does its work and then fails, as when the connection breaks before the answer. */
  readonly afterwards?: boolean
}

/** A held call. */
export interface Hold {
  /** Resolves when a call has arrived at the hold. */
  readonly reached: Promise<void>
  /** Lets that call, and later ones, go on. Idempotent. */
  release(): void
}

interface PlannedFailure {
  readonly error: Error
  readonly afterwards: boolean
  left: number
}

interface PlannedHold {
  readonly arrive: () => void
  readonly released: Promise<void>
}

/** Injects faults into a fake engine and records what was called. */
export class FaultPlan {
  readonly #failures = new Map<FakeOperation, PlannedFailure[]>()
  readonly #holds = new Map<FakeOperation, PlannedHold>()
  readonly #calls: string[] = []
  #down: string | undefined

  /** What was called, oldest first: `container.start loopat-ws-1`. Calls without a subject are the bare operation. */
  get calls(): readonly string[] {
    return this.#calls
  }

  /** Forgets the recorded calls. */
  clearCalls(): void {
    this.#calls.length = 0
  }

  /** Makes the next calls of `operation` reject with `error`. */
  fail(operation: FakeOperation, error: Error, options: FailOptions = {}): void {
    const planned = this.#failures.get(operation) ?? []
    planned.push({ error, afterwards: options.afterwards ?? false, left: options.times ?? 1 })
    this.#failures.set(operation, planned)
  }

  /** Makes calls of `operation` wait until they are released. An abort of their signal ends the wait. */
  hold(operation: FakeOperation): Hold {
    const reached = deferred<void>()
    const released = deferred<void>()
    this.#holds.set(operation, { arrive: reached.resolve, released: released.promise })
    return {
      reached: reached.promise,
      release: () => {
        this.#holds.delete(operation)
        released.resolve()
      },
    }
  }

  /** Makes every call reject with `unavailable` until `reason` is undefined again. */
  setDown(reason: string | undefined): void {
    this.#down = reason
  }

  /** Runs one call of the engine through the plan. */
  async run<T>(call: FakeCall<T>): Promise<T> {
    this.#calls.push(call.subject === '' ? call.operation : `${call.operation} ${call.subject}`)
    call.signal?.throwIfAborted()
    // The real engine never answers in the same tick.
    await Promise.resolve()
    await this.#wait(call.operation, call.signal)
    if (this.#down !== undefined) throw new EngineError('unavailable', this.#down)
    const failure = this.#take(call.operation)
    if (failure !== undefined && !failure.afterwards) throw failure.error
    const result = await call.body()
    if (failure !== undefined) throw failure.error
    return result
  }

  async #wait(operation: FakeOperation, signal: AbortSignal | undefined): Promise<void> {
    const hold = this.#holds.get(operation)
    if (hold === undefined) return
    hold.arrive()
    const aborted = deferred<never>()
    const onAbort = () => aborted.reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await Promise.race([hold.released, aborted.promise])
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  #take(operation: FakeOperation): PlannedFailure | undefined {
    const planned = this.#failures.get(operation)
    const first = planned?.[0]
    if (planned === undefined || first === undefined) return undefined
    first.left -= 1
    if (first.left <= 0) planned.shift()
    return first
  }
}

/** One call of the engine as the plan sees it. */
export interface FakeCall<T> {
  readonly operation: FakeOperation
  /** What it is about, usually a name; empty when there is none. */
  readonly subject: string
  readonly signal: AbortSignal | undefined
  readonly body: () => T | Promise<T>
}
