import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** Whether this client is there; see `protocol/presence.ts`. */
export class PresenceFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Says that this client is about to be stopped, or goes on: a stopped one keeps its commands only when it has said so. */
  set(params: RequestParams<'presence/set'>, options?: OptionsOf<'presence/set'>): Promise<ResultOf<'presence/set'>> {
    return this.#call('presence/set', params, options)
  }
}
