import type { LoopInfo, Progress } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol'
import type { Coalesce } from '../lib/coalesce.ts'
import type { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { LoopBoard } from './loop-board.ts'
import type { LoopCache } from './loop-cache.ts'
import type { Meta } from './loop-meta.ts'
import { resolveRef } from './loop-name.ts'
import type { LoopServiceOptions } from './loop-options.ts'
import { isLoopId } from './loop-path.ts'
import { brokenLoop, type StoredLoop } from './loop-store.ts'
import type { RecentLooks } from './recent-look.ts'

/** What came of a start. */
export interface StartOutcome {
  readonly action: 'none' | 'started' | 'created' | 'recreated'
  /** Why the container was made anew. */
  readonly reason: string | null
}

/** What the use cases share. */
export interface LoopContext extends Omit<LoopServiceOptions, 'onChange' | 'onContainer'> {
  readonly cache: LoopCache
  readonly board: LoopBoard
  readonly looks: RecentLooks
  /** One operation per loop at a time, by id. */
  readonly turns: KeyedMutex
  /** Starts under way, so that all who want the same one see its progress. */
  readonly starts: Coalesce<StartOutcome, Progress>
}

/** A loop whose metadata can be read. */
export type ReadableLoop = Extract<StoredLoop, { kind: 'readable' }>

/**
 * Finds the loop that a reference names, broken ones included.
 * @throws `loop_not_found`, `ambiguous_loop`
 */
export async function findLoop(context: LoopContext, ref: string): Promise<StoredLoop> {
  // The common cases need no listing. An exact id comes before a name, and no name is as long as an id.
  const direct = await (isLoopId(ref) ? context.store.read(ref) : context.store.findByName(ref))
  if (direct !== undefined) return direct
  const loops = await context.store.list()
  return resolveRef(
    ref,
    loops.map((loop) => (loop.kind === 'broken' ? { id: loop.id, loop } : { id: loop.id, name: loop.meta.name, loop })),
  ).loop
}

/**
 * Reads a loop again, inside its turn: between finding it and now it may have changed.
 * @throws `loop_not_found`, `loop_broken`
 */
export async function readLoop(context: LoopContext, id: string): Promise<ReadableLoop> {
  const stored = await context.store.read(id)
  if (stored === undefined) {
    throw new LoopatError('loop_not_found', `loop ${id} no longer exists`, { next: 'Run: loopctl ls --all' })
  }
  if (stored.kind === 'broken') throw brokenLoop(stored, context.store.paths(id).meta)
  return stored
}

/** Refuses an archived loop (rule L-18). @throws `loop_archived` */
export function refuseArchived({ id, name, archivedAt }: Meta): void {
  if (archivedAt === undefined) return
  throw new LoopatError('loop_archived', `loop "${name}" is archived`, {
    next: `Run: loopctl unarchive ${name}`,
    details: { loop: id },
  })
}

/** Tells of a loop as it is now; does nothing when it is gone. */
export async function republish(context: LoopContext, id: string): Promise<void> {
  const stored = await context.store.read(id)
  if (stored !== undefined) context.board.publish(stored)
}

/** A loop as it is now, told to everybody. @throws `loop_not_found`, `loop_broken` */
export async function publishLoop(context: LoopContext, id: string): Promise<LoopInfo> {
  return context.board.publish(await readLoop(context, id))
}
