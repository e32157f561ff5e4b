import { type CheckedParamsOf, LoopatError, type ResultOf } from '@loopatd/protocol'
import type { OnProgress } from '../lib/progress.ts'
import type { LoopServiceOptions } from './loop-options.ts'
import type { LoopUse, LoopUseRequest } from './loop-use.ts'

/** How many loops there are. */
export interface LoopCounts {
  readonly total: number
  readonly running: number
  readonly archived: number
  readonly broken: number
}

/** Loops: every use case of the contract, serialised per loop. */
export class LoopService implements AsyncDisposable {
  readonly #options: LoopServiceOptions

  constructor(options: LoopServiceOptions) {
    this.#options = options
  }

  /**
   * Cleans up after a crash and begins to follow the engine; what needs the engine is done as soon as it answers.
   * @throws `storage_failed` when the loops cannot be listed
   */
  async open(): Promise<void> {
    throw this.#unbuilt()
  }

  /** How many loops there are now; asks the engine nothing. */
  async counts(): Promise<LoopCounts> {
    throw this.#unbuilt()
  }

  /** @see `loop/archive` */
  async archive(_params: CheckedParamsOf<'loop/archive'>, _signal: AbortSignal): Promise<ResultOf<'loop/archive'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/create` */
  async create(
    _params: CheckedParamsOf<'loop/create'>,
    _onProgress: OnProgress,
    _signal: AbortSignal,
  ): Promise<ResultOf<'loop/create'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/get` */
  async get(_params: CheckedParamsOf<'loop/get'>, _signal: AbortSignal): Promise<ResultOf<'loop/get'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/list` */
  async list(_params: CheckedParamsOf<'loop/list'>, _signal: AbortSignal): Promise<ResultOf<'loop/list'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/remove` */
  async remove(
    _params: CheckedParamsOf<'loop/remove'>,
    _onProgress: OnProgress,
    _signal: AbortSignal,
  ): Promise<ResultOf<'loop/remove'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/rename` */
  async rename(_params: CheckedParamsOf<'loop/rename'>, _signal: AbortSignal): Promise<ResultOf<'loop/rename'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/restart` */
  async restart(
    _params: CheckedParamsOf<'loop/restart'>,
    _onProgress: OnProgress,
    _signal: AbortSignal,
  ): Promise<ResultOf<'loop/restart'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/start` */
  async start(
    _params: CheckedParamsOf<'loop/start'>,
    _onProgress: OnProgress,
    _signal: AbortSignal,
  ): Promise<ResultOf<'loop/start'>> {
    throw this.#unbuilt()
  }

  /** @see `loop/stop` */
  async stop(_params: CheckedParamsOf<'loop/stop'>, _signal: AbortSignal): Promise<ResultOf<'loop/stop'>> {
    throw this.#unbuilt()
  }

  /** Stops every running loop in parallel (rule L-25). Failures are logged. */
  async stopAll(_graceSeconds: number, _signal: AbortSignal): Promise<void> {
    throw this.#unbuilt()
  }

  /** @see `loop/unarchive` */
  async unarchive(
    _params: CheckedParamsOf<'loop/unarchive'>,
    _signal: AbortSignal,
  ): Promise<ResultOf<'loop/unarchive'>> {
    throw this.#unbuilt()
  }

  /**
   * Resolves a loop reference to an id.
   * @throws `loop_not_found`, `ambiguous_loop`
   */
  async resolve(_ref: string): Promise<string> {
    throw this.#unbuilt()
  }

  /**
   * Makes sure that a loop runs and keeps it awake until the use is released.
   * @throws as `loop/start`, and `loop_not_running` when it is stopped and must not be started
   */
  async use(_ref: string, _request: LoopUseRequest, _onProgress: OnProgress, _signal: AbortSignal): Promise<LoopUse> {
    throw this.#unbuilt()
  }

  /** Stops following the engine; loops are left as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    throw this.#unbuilt()
  }

  #unbuilt(): LoopatError {
    return new LoopatError('internal', `the loop room of ${this.#options.workspace} is not built yet`)
  }
}
