import type { ResultOf } from '@loopatd/protocol'
import type { Call, OptionsOf, RequestParams } from './call.ts'

/** Loops; each method is the one of the same name in `protocol/loop.ts`, which describes it. */
export class LoopFeature {
  readonly #call: Call

  constructor(call: Call) {
    this.#call = call
  }

  /** Archives a loop: stopped and read-only until it is unarchived. */
  archive(
    params: RequestParams<'loop/archive'>,
    options?: OptionsOf<'loop/archive'>,
  ): Promise<ResultOf<'loop/archive'>> {
    return this.#call('loop/archive', params, options)
  }

  /** Creates a loop and starts it. */
  create(params: RequestParams<'loop/create'>, options?: OptionsOf<'loop/create'>): Promise<ResultOf<'loop/create'>> {
    return this.#call('loop/create', params, options)
  }

  /** Shows one loop. */
  get(params: RequestParams<'loop/get'>, options?: OptionsOf<'loop/get'>): Promise<ResultOf<'loop/get'>> {
    return this.#call('loop/get', params, options)
  }

  /** Shows what the container of a loop is made of. */
  inspect(
    params: RequestParams<'loop/inspect'>,
    options?: OptionsOf<'loop/inspect'>,
  ): Promise<ResultOf<'loop/inspect'>> {
    return this.#call('loop/inspect', params, options)
  }

  /** Lists loops, newest first. */
  list(params: RequestParams<'loop/list'> = {}, options?: OptionsOf<'loop/list'>): Promise<ResultOf<'loop/list'>> {
    return this.#call('loop/list', params, options)
  }

  /** Removes a loop with everything in it. */
  remove(params: RequestParams<'loop/remove'>, options?: OptionsOf<'loop/remove'>): Promise<ResultOf<'loop/remove'>> {
    return this.#call('loop/remove', params, options)
  }

  /** Changes a loop's name or title. */
  rename(params: RequestParams<'loop/rename'>, options?: OptionsOf<'loop/rename'>): Promise<ResultOf<'loop/rename'>> {
    return this.#call('loop/rename', params, options)
  }

  /** Stops and starts a loop. */
  restart(
    params: RequestParams<'loop/restart'>,
    options?: OptionsOf<'loop/restart'>,
  ): Promise<ResultOf<'loop/restart'>> {
    return this.#call('loop/restart', params, options)
  }

  /** Makes sure that a loop runs. */
  start(params: RequestParams<'loop/start'>, options?: OptionsOf<'loop/start'>): Promise<ResultOf<'loop/start'>> {
    return this.#call('loop/start', params, options)
  }

  /** Stops a loop. */
  stop(params: RequestParams<'loop/stop'>, options?: OptionsOf<'loop/stop'>): Promise<ResultOf<'loop/stop'>> {
    return this.#call('loop/stop', params, options)
  }

  /** Tells what a change of a loop would do. */
  plan(params: RequestParams<'loop/plan'>, options?: OptionsOf<'loop/plan'>): Promise<ResultOf<'loop/plan'>> {
    return this.#call('loop/plan', params, options)
  }

  /** Changes what a loop is made from. */
  update(params: RequestParams<'loop/update'>, options?: OptionsOf<'loop/update'>): Promise<ResultOf<'loop/update'>> {
    return this.#call('loop/update', params, options)
  }

  /** Brings an archived loop back, stopped. */
  unarchive(
    params: RequestParams<'loop/unarchive'>,
    options?: OptionsOf<'loop/unarchive'>,
  ): Promise<ResultOf<'loop/unarchive'>> {
    return this.#call('loop/unarchive', params, options)
  }
}
