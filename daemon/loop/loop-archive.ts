import type { LoopInfo } from '@loopatd/protocol'
import { findLoop, type LoopContext, publishLoop, readLoop } from './loop-context.ts'
import { stopInTurn } from './loop-stop.ts'

/**
 * Archives a loop: stops it and makes it read-only (rules L-17, L-18). Nothing is deleted; twice is fine.
 * @throws `storage_failed`; the loop is then stopped, and not archived
 */
export async function archiveLoop(context: LoopContext, ref: string, signal: AbortSignal): Promise<LoopInfo> {
  const { id } = await findLoop(context, ref)
  const archive = async () => {
    const stored = await readLoop(context, id)
    await stopInTurn(context, stored, { cause: { by: 'request', text: 'archive' } }, signal)
    if (stored.meta.archivedAt === undefined) {
      const archivedAt = context.clock.now().toISOString()
      await context.store.update(id, (meta) => ({ ...meta, archivedAt }))
    }
    return await publishLoop(context, id)
  }
  return await context.turns.run(id, archive, signal)
}

/** Brings an archived loop back, stopped. One that is not archived is left as it is. */
export async function unarchiveLoop(context: LoopContext, ref: string, signal: AbortSignal): Promise<LoopInfo> {
  const { id } = await findLoop(context, ref)
  const unarchive = async () => {
    const { meta } = await readLoop(context, id)
    if (meta.archivedAt !== undefined) {
      await context.store.update(id, ({ archivedAt: _archivedAt, ...rest }) => rest)
    }
    return await publishLoop(context, id)
  }
  return await context.turns.run(id, unarchive, signal)
}
