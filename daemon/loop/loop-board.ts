import { LoopatError, type LoopCause, type LoopInfo } from '@loopatd/protocol'
import type { ContainerDetails } from '../engine/engine.ts'
import { loopInfo } from './loop-info.ts'
import type { LoopChange } from './loop-options.ts'
import { checkTransition, type LoopActivity, type LoopFacts, phaseOf } from './loop-state.ts'
import type { StoredLoop } from './loop-store.ts'

/** What the board is made of. */
export interface LoopBoardOptions {
  /** The container of a loop as last known. */
  readonly containerOf: (loopId: string) => ContainerDetails | undefined
  /** Is told of every change, once. Must not throw. */
  readonly onChange: (change: LoopChange) => void
}

interface Cell {
  activity: LoopActivity | undefined
  /** Why the activity began, until what came of it is told. */
  cause: LoopCause | undefined
  failure: string | undefined
  /** What was told last. */
  shown: LoopInfo | undefined
}

/** What every loop is doing now: owner of the operations under way and of what was told last. */
export class LoopBoard {
  readonly #options: LoopBoardOptions
  readonly #cells = new Map<string, Cell>()

  constructor(options: LoopBoardOptions) {
    this.#options = options
  }

  /** A loop as it is now. Tells nobody. */
  show(stored: StoredLoop): LoopInfo {
    return loopInfo(stored, phaseOf(this.#facts(stored)))
  }

  /**
   * Notes that an operation began, and tells it.
   * @param stored tells what the loop is when the operation has ended
   * @param doing what begins, and why
   * @returns ends it; the next {@link publish} tells what came of it
   * @throws `internal` when another one is under way, or the loop is in no state for it
   */
  begin(stored: StoredLoop, { activity, cause }: { activity: LoopActivity; cause: LoopCause }): () => void {
    const cell = this.#cell(stored.id)
    if (cell.activity !== undefined) throw new LoopatError('internal', `loop ${stored.id} is already ${cell.activity}`)
    // Somebody may have mended it, or brought it back, by hand since it was told last.
    if (cell.shown !== undefined) this.publish(stored)
    checkTransition(this.show(stored).state, activity)
    cell.activity = activity
    cell.cause = cause
    this.publish(stored)
    return () => {
      cell.activity = undefined
    }
  }

  /** Notes why the last start failed, or how the container ended; undefined when all is well. */
  noteFailure(loopId: string, failure: string | undefined): void {
    this.#cell(loopId).failure = failure
  }

  /** Tells of a loop if it changed since it was told last. @throws `internal` for an illegal change of state */
  publish(stored: StoredLoop): LoopInfo {
    const cell = this.#cell(stored.id)
    const before = cell.shown
    const loop = this.show(stored)
    if (before !== undefined) checkTransition(before.state, loop.state)
    cell.shown = loop
    const cause = cell.cause ?? outside(before, loop)
    if (cell.activity === undefined) cell.cause = undefined
    if (!isSame(before, loop)) this.#options.onChange({ loop, removed: false, cause: cause ?? null })
    return loop
  }

  /** Takes a loop for granted as it is now, without telling: what was so when the daemon began is no change. */
  adopt(stored: StoredLoop): void {
    this.#cell(stored.id).shown ??= this.show(stored)
  }

  /** Tells that a loop is gone, and forgets it. */
  retire(loop: LoopInfo): void {
    this.#cells.delete(loop.id)
    this.#options.onChange({ loop, removed: true, cause: { by: 'request', text: 'remove' } })
  }

  #facts(stored: StoredLoop): LoopFacts {
    const cell = this.#cells.get(stored.id)
    return {
      stored,
      activity: cell?.activity,
      container: this.#options.containerOf(stored.id),
      failure: cell?.failure,
    }
  }

  #cell(loopId: string): Cell {
    const known = this.#cells.get(loopId)
    if (known !== undefined) return known
    const cell: Cell = { activity: undefined, cause: undefined, failure: undefined, shown: undefined }
    this.#cells.set(loopId, cell)
    return cell
  }
}

/** A container that began or ceased to run although nobody here asked for it. */
function outside(before: LoopInfo | undefined, { state, reason }: LoopInfo): LoopCause | undefined {
  if (before === undefined || (before.state === 'running') === (state === 'running')) return undefined
  if (state === 'running') return { by: 'outside', text: 'its container was started' }
  return state === 'stopped' ? { by: 'outside', text: reason ?? 'its container was stopped or removed' } : undefined
}

function isSame(a: LoopInfo | undefined, b: LoopInfo): boolean {
  return a !== undefined && JSON.stringify(a) === JSON.stringify(b)
}
