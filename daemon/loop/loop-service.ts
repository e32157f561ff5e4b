import type { CheckedParamsOf, LoopCause, LoopInfo, ResultOf } from '@loopatd/protocol'
import { type ContainerDetails, isEngineError } from '../engine/engine.ts'
import { Coalesce } from '../lib/coalesce.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { OnProgress } from '../lib/progress.ts'
import { archiveLoop, unarchiveLoop } from './loop-archive.ts'
import { LoopBoard } from './loop-board.ts'
import { LoopCache } from './loop-cache.ts'
import { findLoop, type LoopContext, publishLoop, readLoop, republish } from './loop-context.ts'
import { createLoop } from './loop-create.ts'
import { listEnv, setEnv, unsetEnv } from './loop-env.ts'
import { inspectLoop } from './loop-inspect.ts'
import type { LoopServiceOptions } from './loop-options.ts'
import { type LoopCounts, LoopReader } from './loop-reader.ts'
import { removeLoop } from './loop-remove.ts'
import { renameLoop } from './loop-rename.ts'
import { NameDesk } from './loop-reserve.ts'
import { type SleepRequest, sleepLoop } from './loop-sleep.ts'
import { startInTurn, startLoop } from './loop-start.ts'
import { type StopRequest, stopInTurn } from './loop-stop.ts'
import { planUpdate, updateLoop } from './loop-update.ts'
import { type LoopUse, type LoopUseRequest, useLoop } from './loop-use.ts'
import { WritableMounts } from './loop-writable.ts'
import { RecentLooks } from './recent-look.ts'
import { reconcile } from './reconcile.ts'

/** Loops: every use case of the contract, serialised per loop. Each lives in a file of its own; here they meet. */
export class LoopService implements AsyncDisposable {
  readonly #context: LoopContext
  readonly #names: NameDesk
  readonly #reader: LoopReader
  readonly #writable: WritableMounts
  readonly #closed = new AbortController()
  readonly #background = new Set<Promise<void>>()
  #takenUp = false
  #reconciled = false

  constructor(options: LoopServiceOptions) {
    const { onChange, onContainer, ...rest } = options
    const cache = new LoopCache({
      ...options,
      onChange: (id) => {
        onContainer?.(id, runOf(cache.peek(id)))
        if (this.#takenUp) this.#inBackground('tell of a loop', () => republish(this.#context, id))
      },
      onSync: () => this.#inBackground('take up the loops', () => this.#takeUp()),
    })
    const board = new LoopBoard({
      containerOf: (id) => cache.peek(id),
      onChange: (change) => {
        this.#writable.forget()
        onChange(change)
      },
    })
    const looks = new RecentLooks(options.clock)
    this.#writable = new WritableMounts(options, options.clock)
    this.#context = { ...rest, cache, board, turns: new KeyedMutex(), starts: new Coalesce(), looks }
    this.#names = new NameDesk(options.store)
    this.#reader = new LoopReader(this.#context)
  }

  /**
   * Cleans up after a crash and begins to follow the engine; what needs the engine is done as soon as it answers.
   * Call it before anything else.
   * @throws `storage_failed` when the loops cannot be read
   */
  async open(): Promise<void> {
    await this.#context.store.recover()
    this.#context.cache.open()
  }

  /** Something outside the loops has changed that their containers depend on, such as a vault. */
  lookAgain(): void {
    this.#context.looks.clear()
  }

  /** What of the host's own files some loop can write. */
  async writable(): Promise<readonly string[]> {
    return await this.#writable.list()
  }

  /** How many loops there are now; asks the engine nothing. */
  async counts(): Promise<LoopCounts> {
    return await this.#reader.counts()
  }

  /** @see `loop/archive` of the contract, as for all that follow */
  async archive(params: CheckedParamsOf<'loop/archive'>, signal: AbortSignal): Promise<ResultOf<'loop/archive'>> {
    return { loop: await archiveLoop(this.#context, params.loop, signal) }
  }

  async create(
    params: CheckedParamsOf<'loop/create'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ResultOf<'loop/create'>> {
    return await createLoop(this.#context, this.#names, params, { onProgress, signal })
  }

  async get(params: CheckedParamsOf<'loop/get'>, signal: AbortSignal): Promise<ResultOf<'loop/get'>> {
    return await this.#reader.get(params.loop, signal)
  }

  async inspect(params: CheckedParamsOf<'loop/inspect'>, signal: AbortSignal): Promise<ResultOf<'loop/inspect'>> {
    return await inspectLoop(this.#context, params.loop, signal)
  }

  async list(params: CheckedParamsOf<'loop/list'>, signal: AbortSignal): Promise<ResultOf<'loop/list'>> {
    return { loops: await this.#reader.list(params.archived, signal) }
  }

  async listEnv({ loop }: CheckedParamsOf<'env/list'>, signal: AbortSignal): Promise<ResultOf<'env/list'>> {
    signal.throwIfAborted()
    return await listEnv(this.#context, loop)
  }

  async setEnv(params: CheckedParamsOf<'env/set'>, signal: AbortSignal): Promise<ResultOf<'env/set'>> {
    signal.throwIfAborted()
    return await setEnv(this.#context, params)
  }

  async unsetEnv(params: CheckedParamsOf<'env/unset'>, signal: AbortSignal): Promise<ResultOf<'env/unset'>> {
    signal.throwIfAborted()
    return await unsetEnv(this.#context, params)
  }

  async plan(params: CheckedParamsOf<'loop/plan'>, signal: AbortSignal): Promise<ResultOf<'loop/plan'>> {
    return await planUpdate(this.#context, params, signal)
  }

  async remove(
    params: CheckedParamsOf<'loop/remove'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ResultOf<'loop/remove'>> {
    return await removeLoop(this.#context, { params, onProgress, signal })
  }

  async rename(params: CheckedParamsOf<'loop/rename'>, signal: AbortSignal): Promise<ResultOf<'loop/rename'>> {
    return { loop: await renameLoop(this.#context, this.#names, params, signal) }
  }

  async restart(
    params: CheckedParamsOf<'loop/restart'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ResultOf<'loop/restart'>> {
    const { id } = await findLoop(this.#context, params.loop)
    const cause = { by: 'request', text: 'restart' } as const
    const restart = async () => {
      const stored = await readLoop(this.#context, id)
      if (stored.meta.archivedAt === undefined) await stopInTurn(this.#context, stored, { cause }, signal)
      const isInteractive = params.interactive ?? false
      return await startInTurn(this.#context, { id, mode: 'start', cause, isInteractive, onProgress, signal })
    }
    const outcome = await this.#context.turns.run(id, restart, signal)
    return { loop: await publishLoop(this.#context, id), ...outcome }
  }

  /** Shows one loop and nothing of it. @throws `loop_not_found`, `ambiguous_loop` */
  async look(ref: string, signal: AbortSignal): Promise<LoopInfo> {
    return await this.#reader.look(ref, signal)
  }

  /**
   * Stops a loop under its lock, if it is still idle then.
   * @throws `engine_failed`, `engine_unavailable`, `connection_lost`
   */
  async sleep(id: string, request: SleepRequest, signal: AbortSignal): Promise<'stopped' | 'kept'> {
    return await sleepLoop(this.#context, id, request, signal)
  }

  async start(
    params: CheckedParamsOf<'loop/start'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ResultOf<'loop/start'>> {
    const { id } = await findLoop(this.#context, params.loop)
    const cause: LoopCause =
      params.use === undefined ? { by: 'request', text: 'start' } : { by: 'use', text: params.use }
    const isInteractive = params.interactive ?? false
    const outcome = await startLoop(this.#context, { id, mode: 'start', cause, isInteractive, onProgress, signal })
    return { loop: await publishLoop(this.#context, id), ...outcome }
  }

  async stop(params: CheckedParamsOf<'loop/stop'>, signal: AbortSignal): Promise<ResultOf<'loop/stop'>> {
    const { id } = await findLoop(this.#context, params.loop)
    const { graceSeconds } = params
    return { loop: await this.#stop(id, { graceSeconds, cause: { by: 'request', text: 'stop' } }, signal) }
  }

  /** Stops every running loop, all at the same time (rule L-25). A loop that does not stop is logged. */
  async stopAll(graceSeconds: number, signal: AbortSignal): Promise<void> {
    const stop = async (id: string) => {
      try {
        await this.#stop(id, { graceSeconds, cause: { by: 'request', text: 'the daemon stops' } }, signal)
      } catch (error) {
        this.#context.log.error({ loop: id, err: error }, 'a loop cannot be stopped')
      }
    }
    await Promise.all(this.#context.cache.loopIds().map(stop))
    signal.throwIfAborted()
  }

  async unarchive(params: CheckedParamsOf<'loop/unarchive'>, signal: AbortSignal): Promise<ResultOf<'loop/unarchive'>> {
    return { loop: await unarchiveLoop(this.#context, params.loop, signal) }
  }

  /** Names of the loops that use a vault of a user, archived ones included. */
  async selecting(user: string, vault: string): Promise<readonly string[]> {
    return await this.#reader.selecting(user, vault)
  }

  async update(
    params: CheckedParamsOf<'loop/update'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ResultOf<'loop/update'>> {
    return await updateLoop(this.#context, params, onProgress, signal)
  }

  /**
   * Resolves a loop reference to an id.
   * @throws `loop_not_found`, `ambiguous_loop`
   */
  async resolve(ref: string): Promise<string> {
    return (await findLoop(this.#context, ref)).id
  }

  /**
   * Makes sure that a loop runs and keeps it awake until the use is released.
   * @throws as `start`, and `loop_not_running` when it is stopped and must not be started
   */
  async use(ref: string, request: LoopUseRequest, onProgress: OnProgress, signal: AbortSignal): Promise<LoopUse> {
    return await useLoop(this.#context, ref, request, { onProgress, signal })
  }

  /** Stops following the engine and waits for what goes on in the background; loops are left as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error('the loop service was closed'))
    this.#context.cache.close()
    await Promise.all(this.#background)
  }

  async #stop(id: string, request: StopRequest, signal: AbortSignal): Promise<LoopInfo> {
    const stop = async () => {
      await stopInTurn(this.#context, await readLoop(this.#context, id), request, signal)
      return await publishLoop(this.#context, id)
    }
    return await this.#context.turns.run(id, stop, signal)
  }

  /** After every connection to the engine: tells what changed meanwhile; after the first one, cleans up instead. */
  async #takeUp(): Promise<void> {
    const { store, board } = this.#context
    for (const stored of await store.list()) {
      if (this.#takenUp) board.publish(stored)
      else board.adopt(stored)
    }
    this.#takenUp = true
    if (this.#reconciled) return
    this.#reconciled = true
    try {
      await reconcile(this.#context, this.#closed.signal)
    } catch (error) {
      // The next connection brings another chance.
      this.#reconciled = false
      if (!isEngineError(error)) throw error
      this.#context.log.warn({ err: error }, 'could not clean up after the start')
    }
  }

  /** Work that nobody waits for: its failure is logged, and that is all that can be done about it. */
  #inBackground(what: string, work: () => Promise<void>): void {
    const log = (error: unknown) => {
      if (!this.#closed.signal.aborted) this.#context.log.error({ err: error }, `could not ${what}`)
    }
    const done = work()
      .catch(log)
      .finally(() => this.#background.delete(done))
    this.#background.add(done)
  }
}

/** What names the run of a container; undefined when it does not run. */
function runOf(container: ContainerDetails | undefined): string | undefined {
  return container?.status === 'running' ? `${container.id} ${container.startedAt ?? ''}` : undefined
}
