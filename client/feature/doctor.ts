import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf } from './call.ts'

/** What this host needs to run loops; see `protocol/doctor.ts`. */
export class DoctorFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Checks everything a loop needs on this host. Changes nothing. */
  run(options?: OptionsOf<'doctor/run'>): Promise<ResultOf<'doctor/run'>> {
    return this.#call('doctor/run', {}, options)
  }
}
