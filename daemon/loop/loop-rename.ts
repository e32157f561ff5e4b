import type { CheckedParamsOf, LoopInfo } from '@loopatd/protocol'
import { findLoop, type LoopContext, publishLoop, readLoop } from './loop-context.ts'
import type { Meta } from './loop-meta.ts'
import type { NameDesk } from './loop-reserve.ts'

/** Changes the name, the title or both. The container knows neither, and is not touched. @throws `name_taken` */
export async function renameLoop(
  context: LoopContext,
  names: NameDesk,
  { loop, name, title }: CheckedParamsOf<'loop/rename'>,
  signal: AbortSignal,
): Promise<LoopInfo> {
  const { id } = await findLoop(context, loop)
  const rename = async () => {
    const { meta } = await readLoop(context, id)
    const reservation = await names.reserve(name ?? meta.name, meta.name, id)
    try {
      const changed: Pick<Meta, 'name' | 'title'> = { name: reservation.name, title: title ?? meta.title }
      await context.store.update(id, (now) => ({ ...now, ...changed }))
    } finally {
      reservation.release()
    }
    return await publishLoop(context, id)
  }
  return await context.turns.run(id, rename, signal)
}
