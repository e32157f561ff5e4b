import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** What loops may run on the host, what waits for an approval, and what was run; see `protocol/host.ts`. */
export class HostFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Lets a command that waits for an approval run. */
  approve(
    params: RequestParams<'host/approve'>,
    options?: OptionsOf<'host/approve'>,
  ): Promise<ResultOf<'host/approve'>> {
    return this.#call('host/approve', params, options)
  }

  /** Refuses a command that waits for an approval. */
  deny(params: RequestParams<'host/deny'>, options?: OptionsOf<'host/deny'>): Promise<ResultOf<'host/deny'>> {
    return this.#call('host/deny', params, options)
  }

  /** Says whether a loop, or every loop, may run a command on the host. */
  grant(params: RequestParams<'host/grant'>, options?: OptionsOf<'host/grant'>): Promise<ResultOf<'host/grant'>> {
    return this.#call('host/grant', params, options)
  }

  /** Lists what loops may run on the host, in the order in which it counts. */
  list(params: RequestParams<'host/list'> = {}, options?: OptionsOf<'host/list'>): Promise<ResultOf<'host/list'>> {
    return this.#call('host/list', params, options)
  }

  /** Reads the log of host commands. */
  log(params: RequestParams<'host/log'> = {}, options?: OptionsOf<'host/log'>): Promise<ResultOf<'host/log'>> {
    return this.#call('host/log', params, options)
  }

  /** Lists commands that wait for an approval. */
  pending(
    params: RequestParams<'host/pending'> = {},
    options?: OptionsOf<'host/pending'>,
  ): Promise<ResultOf<'host/pending'>> {
    return this.#call('host/pending', params, options)
  }

  /** Takes grants back. */
  revoke(params: RequestParams<'host/revoke'>, options?: OptionsOf<'host/revoke'>): Promise<ResultOf<'host/revoke'>> {
    return this.#call('host/revoke', params, options)
  }
}
