import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** Plain variables of a loop; see `protocol/env.ts`. */
export class EnvFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Lists the plain variables of a loop. */
  list(params: RequestParams<'env/list'>, options?: OptionsOf<'env/list'>): Promise<ResultOf<'env/list'>> {
    return this.#call('env/list', params, options)
  }

  /** Sets variables. */
  set(params: RequestParams<'env/set'>, options?: OptionsOf<'env/set'>): Promise<ResultOf<'env/set'>> {
    return this.#call('env/set', params, options)
  }

  /** Takes variables away. */
  unset(params: RequestParams<'env/unset'>, options?: OptionsOf<'env/unset'>): Promise<ResultOf<'env/unset'>> {
    return this.#call('env/unset', params, options)
  }
}
