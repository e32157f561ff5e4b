import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** What keeps loops awake, and when they sleep; see `protocol/idle.ts`. */
export class IdleFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Keeps a loop awake until the lease is released, runs out, or the connection ends. */
  acquire(
    params: RequestParams<'idle/acquire'>,
    options?: OptionsOf<'idle/acquire'>,
  ): Promise<ResultOf<'idle/acquire'>> {
    return this.#call('idle/acquire', params, options)
  }

  /** Keeps a loop awake for a while, whoever uses it. */
  hold(params: RequestParams<'idle/hold'>, options?: OptionsOf<'idle/hold'>): Promise<ResultOf<'idle/hold'>> {
    return this.#call('idle/hold', params, options)
  }

  /** Lists what keeps loops awake, and when they will sleep. */
  list(options?: OptionsOf<'idle/list'>): Promise<ResultOf<'idle/list'>> {
    return this.#call('idle/list', {}, options)
  }

  /** Gives a lease of this connection back, or ends holds. */
  release(
    params: RequestParams<'idle/release'>,
    options?: OptionsOf<'idle/release'>,
  ): Promise<ResultOf<'idle/release'>> {
    return this.#call('idle/release', params, options)
  }

  /** Has a lease of this connection last longer. */
  renew(params: RequestParams<'idle/renew'>, options?: OptionsOf<'idle/renew'>): Promise<ResultOf<'idle/renew'>> {
    return this.#call('idle/renew', params, options)
  }

  /** Sets after how long without use a loop sleeps. */
  set(params: RequestParams<'idle/set'>, options?: OptionsOf<'idle/set'>): Promise<ResultOf<'idle/set'>> {
    return this.#call('idle/set', params, options)
  }

  /** Explains why a loop is awake or asleep, and what happens next. */
  why(params: RequestParams<'idle/why'>, options?: OptionsOf<'idle/why'>): Promise<ResultOf<'idle/why'>> {
    return this.#call('idle/why', params, options)
  }
}
