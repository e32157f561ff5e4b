import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** The sandbox image of the workspace; see `protocol/image.ts`. */
export class ImageFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Makes sure that the sandbox image exists. */
  build(
    params: RequestParams<'image/build'> = {},
    options?: OptionsOf<'image/build'>,
  ): Promise<ResultOf<'image/build'>> {
    return this.#call('image/build', params, options)
  }

  /** Shows the sandbox image. */
  status(options?: OptionsOf<'image/status'>): Promise<ResultOf<'image/status'>> {
    return this.#call('image/status', {}, options)
  }
}
