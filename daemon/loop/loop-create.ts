import { join } from 'node:path'
import { type CheckedParamsOf, isLoopatError, LoopatError, type ResultOf } from '@loopatd/protocol'
import type { OnProgress } from '../lib/progress.ts'
import { type LoopContext, publishLoop } from './loop-context.ts'
import { messageOf } from './loop-failure.ts'
import { META_VERSION, type Meta } from './loop-meta.ts'
import { branchOf, slugOf } from './loop-name.ts'
import type { NameDesk } from './loop-reserve.ts'
import { startLoop } from './loop-start.ts'
import type { LoopDraft } from './loop-store.ts'
import { acceptWishes } from './loop-wish.ts'
import { copyPersonal } from './personal-copy.ts'

type Params = CheckedParamsOf<'loop/create'>

/** Title of a loop that was given none (rule L-2). */
const UNTITLED = 'untitled'

/**
 * Creates a loop: directories, clone, metadata last (rule L-5), then its first start. Until the metadata is written a
 * failure or an abort leaves nothing; after that the loop exists, and an error says so.
 */
export async function createLoop(
  context: LoopContext,
  names: NameDesk,
  params: Params,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<ResultOf<'loop/create'>> {
  signal.throwIfAborted()
  const wishes = await acceptWishes(context, params, signal)
  const title = params.title || UNTITLED
  const reservation = await names.reserve(params.name, slugOf(title))
  let id: string
  try {
    id = await make(context, { ...params, title, name: reservation.name, wishes }, { onProgress, signal })
  } finally {
    reservation.release()
  }
  context.log.info({ loop: id, name: reservation.name }, 'created a loop')
  await publishLoop(context, id)
  if (params.start)
    await startFirst(
      context,
      { id, name: reservation.name, isInteractive: params.interactive ?? false },
      { onProgress, signal },
    )
  return { loop: await publishLoop(context, id) }
}

async function make(
  context: LoopContext,
  params: Params & { title: string; name: string; wishes: Partial<Meta> },
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<string> {
  const draft = await context.store.begin()
  try {
    const clone = await cloneFor(context, draft, params, { onProgress, signal })
    signal.throwIfAborted()
    await copyOwn(context, draft)
    signal.throwIfAborted()
    const { image, metadata } = params
    const meta: Meta = {
      version: META_VERSION,
      id: draft.id,
      name: params.name,
      title: params.title,
      createdAt: context.clock.now().toISOString(),
      user: context.user,
      ...clone,
      ...(image === undefined ? {} : { image }),
      ...params.wishes,
      ...(metadata === undefined ? {} : { metadata }),
    }
    await draft.commit(meta)
    return draft.id
  } catch (error) {
    await takeBack(context, draft)
    throw error
  }
}

async function cloneFor(
  { repos }: LoopContext,
  draft: LoopDraft,
  { repo, title, name }: Params & { title: string },
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<Partial<Pick<Meta, 'repo' | 'branch'>>> {
  if (repo === undefined) return {}
  const request = {
    source: repo.source,
    ...(repo.ref === undefined ? {} : { ref: repo.ref }),
    branch: branchOf(title === UNTITLED && name !== undefined ? name : title, draft.id),
    workdir: draft.paths.workdir,
  }
  return await repos.clone(request, onProgress, signal)
}

/** Gives the loop its user's personal files (table C-2, row 9). */
async function copyOwn({ paths, store, user }: LoopContext, draft: LoopDraft): Promise<void> {
  const to = join(draft.paths.directory, 'context', 'personal')
  await store.guard(draft.id, () => copyPersonal(join(paths.home, 'personal', user), to))
}

/** Removes a half-made loop. When even that fails, the first error is the one to tell; the next start cleans up. */
async function takeBack({ log }: LoopContext, draft: LoopDraft): Promise<void> {
  try {
    await draft.discard()
  } catch (error) {
    if (!isLoopatError(error)) throw error
    log.error({ loop: draft.id, err: error }, 'a half-made loop cannot be removed')
  }
}

async function startFirst(
  context: LoopContext,
  { id, name, isInteractive }: { id: string; name: string; isInteractive: boolean },
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<void> {
  try {
    const cause = { by: 'request', text: 'create' } as const
    await startLoop(context, { id, mode: 'start', cause, isInteractive, onProgress, signal })
  } catch (error) {
    if (!isLoopatError(error)) throw error
    throw new LoopatError(error.code, `loop "${name}" was created but not started: ${messageOf(error)}`, {
      next: `${error.next === undefined ? '' : `${error.next} Then: `}loopctl start ${name}`,
      details: { ...error.details, loop: id, name },
      cause: error,
    })
  }
}
