import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** Params of a job that is to start. */
export type JobStartParams = RequestParams<'job/start'>

/** Jobs: commands that outlive this client and the daemon; see `protocol/job.ts`. */
export class JobFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Shows one job. */
  get(params: RequestParams<'job/get'>, options?: OptionsOf<'job/get'>): Promise<ResultOf<'job/get'>> {
    return this.#call('job/get', params, options)
  }

  /** Ends a job, or sends it a signal. */
  kill(params: RequestParams<'job/kill'>, options?: OptionsOf<'job/kill'>): Promise<ResultOf<'job/kill'>> {
    return this.#call('job/kill', params, options)
  }

  /** Lists the jobs of a loop, newest first. */
  list(params: RequestParams<'job/list'>, options?: OptionsOf<'job/list'>): Promise<ResultOf<'job/list'>> {
    return this.#call('job/list', params, options)
  }

  /** Reads output of a job. */
  logs(params: RequestParams<'job/logs'>, options?: OptionsOf<'job/logs'>): Promise<ResultOf<'job/logs'>> {
    return this.#call('job/logs', params, options)
  }

  /** Forgets a job and removes its logs. */
  remove(params: RequestParams<'job/remove'>, options?: OptionsOf<'job/remove'>): Promise<ResultOf<'job/remove'>> {
    return this.#call('job/remove', params, options)
  }

  /** Starts a command and leaves it running. */
  start(params: JobStartParams, options?: OptionsOf<'job/start'>): Promise<ResultOf<'job/start'>> {
    return this.#call('job/start', params, options)
  }

  /** Waits until a job has ended. */
  wait(params: RequestParams<'job/wait'>, options?: OptionsOf<'job/wait'>): Promise<ResultOf<'job/wait'>> {
    return this.#call('job/wait', params, options)
  }
}
