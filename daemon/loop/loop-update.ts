import { type CheckedParamsOf, LoopatError, type ResultOf } from '@loopatd/protocol'
import type { OnProgress } from '../lib/progress.ts'
import { applyWishes, changesOf, type LoopWishes, shapeOf } from './loop-change.ts'
import { findLoop, type LoopContext, publishLoop, type ReadableLoop, readLoop, refuseArchived } from './loop-context.ts'
import { checkEnvSize } from './loop-env.ts'
import { callEngine } from './loop-failure.ts'
import { dueRecreation } from './loop-inspect.ts'
import { type Meta, vaultOf } from './loop-meta.ts'
import { driftOf } from './loop-plan.ts'
import { settleReplacement } from './loop-replace.ts'
import { ensureImage, startInTurn } from './loop-start.ts'
import { wantedOf } from './loop-wanted.ts'
import { acceptLimits, acceptMounts } from './loop-wish.ts'
import { parseTarget } from './mount-path.ts'

type Params = CheckedParamsOf<'loop/update'>
type Result = ResultOf<'loop/update'>

/** How many users of a loop the message names; the details have them all. */
const SHOWN = 5
/** Longest wait for the engine when a change that did not begin is taken back, in milliseconds. */
const SETTLE_MS = 20_000

/** Tells what a change of a loop would do; see `loop/plan` of the contract. */
export async function planUpdate(
  context: LoopContext,
  { loop, ...wishes }: CheckedParamsOf<'loop/plan'>,
  signal: AbortSignal,
): Promise<ResultOf<'loop/plan'>> {
  const stored = await readLoop(context, (await findLoop(context, loop)).id)
  refuseArchived(stored.meta)
  const { after } = await accept(context, stored.meta, wishes, signal)
  return await compare(context, stored, after, signal)
}

/** Changes what a loop is made from; see `loop/update` of the contract. */
export async function updateLoop(
  context: LoopContext,
  params: Params,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<Result> {
  const { id } = await findLoop(context, params.loop)
  return await context.turns.run(id, () => updateInTurn(context, id, params, { onProgress, signal }), signal)
}

async function updateInTurn(
  context: LoopContext,
  id: string,
  params: Params,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<Result> {
  const stored = await readLoop(context, id)
  refuseArchived(stored.meta)
  const { after, accepted } = await accept(context, stored.meta, params, signal)
  const compared = await compare(context, stored, after, signal)
  const takesNew = await takesNewContainer(context, after, params, { onProgress, signal })
  if (compared.changes.length === 0 && !takesNew && !params.fresh) return await told(context, id, 'none', compared)
  const isDeferred = takesNew && params.whenIdle && compared.users.length > 0
  if (takesNew && !params.force && !isDeferred) refuseUsed(stored.meta, compared.users)
  await note(context, { before: stored.meta, accepted }, { fresh: params.fresh, underWay: takesNew && !isDeferred })
  context.log.info({ loop: id, changes: compared.changes.map(({ what }) => what) }, 'changed a loop')
  if (!takesNew) return await told(context, id, 'noted', compared)
  if (isDeferred) return await told(context, id, 'deferred', compared)
  await recreate(context, id, { onProgress, signal })
  return await told(context, id, 'recreated', compared)
}

/**
 * Checks what is asked for, before anything is changed.
 * @returns the metadata with it, and what is asked for with mounts as they are noted
 * @throws `mount_refused`, `limit_unsupported`, `vault_not_found`, `vault_invalid`
 */
async function accept(
  context: LoopContext,
  meta: Meta,
  wishes: LoopWishes,
  signal: AbortSignal,
): Promise<{ readonly after: Meta; readonly accepted: LoopWishes }> {
  const removeMounts = (wishes.removeMounts ?? []).map((target) => ownTarget(meta, target))
  const mounts = await acceptMounts(context, wishes.mounts ?? [])
  const accepted = { ...wishes, mounts, removeMounts }
  const after = applyWishes(meta, accepted)
  checkEnvSize(after, after.env ?? {})
  if (wishes.limits !== undefined) await acceptLimits(context, after.limits ?? {}, signal)
  // Also one that was selected before: without it there is no container.
  await context.vaults.require(after.user, vaultOf(after), signal)
  return { after, accepted }
}

/** @throws `mount_refused` when the loop has no mount of its own there */
function ownTarget({ name, mounts = [] }: Meta, text: string): string {
  const parsed = parseTarget(text)
  const target = 'path' in parsed ? parsed.path : text
  if (mounts.some((mount) => mount.target === target)) return target
  throw new LoopatError('mount_refused', `loop "${name}" has no mount of its own at ${target}`, {
    next: `Run: loopctl inspect ${name}`,
    details: { target },
  })
}

async function compare(context: LoopContext, stored: ReadableLoop, after: Meta, signal: AbortSignal) {
  // Brings what is known of the container up to date.
  await context.cache.trusted(signal)
  const isRunning = context.cache.peek(stored.id)?.status === 'running'
  return {
    changes: changesOf(stored.meta, after, isRunning),
    due: await dueRecreation(context, stored, signal),
    users: context.leases.users(stored.id),
  }
}

/** Reports whether a running container has to make way. Makes sure of the image first: one that cannot be had changes nothing. */
async function takesNewContainer(
  context: LoopContext,
  after: Meta,
  { image, fresh }: Params,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<boolean> {
  const { id } = after
  if (image !== undefined && image !== null) await ensureImage(context, { id, image }, onProgress, signal)
  const call = { doing: `look at loop "${after.name}"`, refusal: 'engine_failed' } as const
  const container = await callEngine(call, () => context.cache.current(id, signal))
  if (container?.status !== 'running') return false
  if (image === null) await ensureImage(context, { id }, onProgress, signal)
  if (fresh) return true
  const { draft } = await wantedOf(context, after, signal)
  return driftOf(container, { draft, imageId: context.images.known(after.image) }) !== undefined
}

/** @throws `loop_in_use` */
function refuseUsed({ id, name }: Meta, users: Result['users']): void {
  if (users.length === 0) return
  const named = users.slice(0, SHOWN).map(({ owner, reason }) => `${owner} "${reason}"`)
  const more = users.length > SHOWN ? ` and ${users.length - SHOWN} more` : ''
  throw new LoopatError(
    'loop_in_use',
    `loop "${name}" needs a new container, which would end ${named.join(', ')}${more}`,
    {
      next: 'Wait for them, end them with --force, or change the loop when it is idle with --when-idle.',
      details: { loop: id, users },
    },
  )
}

/**
 * Writes what is asked for, and what was before, until a container has proven it. Variables that were set while the change
 * was looked at stay: those need no turn.
 */
async function note(
  { store, clock }: LoopContext,
  { before, accepted }: { before: Meta; accepted: LoopWishes },
  { fresh, underWay }: { fresh: boolean; underWay: boolean },
): Promise<void> {
  const update = {
    at: clock.now().toISOString(),
    previous: before.update?.previous ?? shapeOf(before),
    ...(fresh ? { fresh } : {}),
    ...(underWay ? { underWay } : {}),
  }
  await store.update(before.id, (now) => {
    const after = applyWishes(now, accepted)
    checkEnvSize(after, after.env ?? {})
    const isShaped = fresh || changesOf(now, { ...after, env: now.env }, true).length > 0
    return isShaped || underWay ? { ...after, update } : after
  })
}

async function recreate(
  context: LoopContext,
  id: string,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<void> {
  try {
    await startInTurn(context, { id, mode: 'start', cause: { by: 'request', text: 'update' }, onProgress, signal })
  } catch (error) {
    await takeBackUnbegun(context, id)
    throw error
  }
}

/** A change that failed before a container made way is taken back, too. Without an engine the next start does it. */
async function takeBackUnbegun(context: LoopContext, id: string): Promise<void> {
  const call = { doing: 'take the change back', refusal: 'engine_failed' } as const
  try {
    await callEngine(call, () => settleReplacement(context, id, AbortSignal.timeout(SETTLE_MS)))
  } catch (error) {
    context.log.warn({ loop: id, err: error }, 'a change cannot be taken back now; the next start does it')
  }
}

async function told(
  context: LoopContext,
  id: string,
  action: Result['action'],
  compared: ResultOf<'loop/plan'>,
): Promise<Result> {
  return { loop: await publishLoop(context, id), ...compared, action }
}
