import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf } from './call.ts'

/** The daemon itself; see `protocol/daemon.ts`. */
export class DaemonFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Shows what the daemon is, serves and can do. */
  status(options?: OptionsOf<'daemon/status'>): Promise<ResultOf<'daemon/status'>> {
    return this.#call('daemon/status', {}, options)
  }

  /** Stops the daemon; loops keep running. Answers before it is gone: `client.closed` tells when. */
  shutdown(options?: OptionsOf<'daemon/shutdown'>): Promise<ResultOf<'daemon/shutdown'>> {
    return this.#call('daemon/shutdown', {}, options)
  }
}
