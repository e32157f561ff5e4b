import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** Vaults: bundles of credentials; see `protocol/vault.ts`. No method answers with a value. */
export class VaultFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Creates a vault, unless it is there. */
  create(
    params: RequestParams<'vault/create'>,
    options?: OptionsOf<'vault/create'>,
  ): Promise<ResultOf<'vault/create'>> {
    return this.#call('vault/create', params, options)
  }

  /** Lists vaults. */
  list(options?: OptionsOf<'vault/list'>): Promise<ResultOf<'vault/list'>> {
    return this.#call('vault/list', {}, options)
  }

  /** Removes a vault with everything in it. */
  remove(
    params: RequestParams<'vault/remove'>,
    options?: OptionsOf<'vault/remove'>,
  ): Promise<ResultOf<'vault/remove'>> {
    return this.#call('vault/remove', params, options)
  }

  /** Puts a variable or a file into a vault. */
  set(params: RequestParams<'vault/set'>, options?: OptionsOf<'vault/set'>): Promise<ResultOf<'vault/set'>> {
    return this.#call('vault/set', params, options)
  }

  /** Shows what is in a vault, without values. */
  show(params: RequestParams<'vault/show'>, options?: OptionsOf<'vault/show'>): Promise<ResultOf<'vault/show'>> {
    return this.#call('vault/show', params, options)
  }

  /** Takes a variable or a file out of a vault. */
  unset(params: RequestParams<'vault/unset'>, options?: OptionsOf<'vault/unset'>): Promise<ResultOf<'vault/unset'>> {
    return this.#call('vault/unset', params, options)
  }
}
