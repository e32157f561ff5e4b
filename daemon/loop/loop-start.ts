import { isLoopatError, LoopatError, type LoopCause } from '@loopatd/protocol'
import { type ContainerDetails, isEngineError } from '../engine/engine.ts'
import type { OnProgress } from '../lib/progress.ts'
import { bringUp } from './loop-bring-up.ts'
import {
  type LoopContext,
  type ReadableLoop,
  readLoop,
  refuseArchived,
  republish,
  type StartOutcome,
} from './loop-context.ts'
import { callEngine, messageOf } from './loop-failure.ts'
import type { Meta } from './loop-meta.ts'
import type { LoopImage } from './loop-options.ts'
import { EPHEMERAL, planStart, type StartPlan } from './loop-plan.ts'
import { proven, settleReplacement } from './loop-replace.ts'
import { wantedOf } from './loop-wanted.ts'

/**
 * Why a loop is started. `start`: it was asked for; a container that differs from what is wanted is made anew. `use`: a
 * command wants it; a running container that others use is kept although it differs. `look`: something wants to look
 * into it, archived or not; any container will do.
 */
export type StartMode = 'start' | 'use' | 'look'

/** One start. */
export interface StartRequest {
  readonly id: string
  readonly mode: StartMode
  /** What it is started for; the first of those who share a start says so. */
  readonly cause: LoopCause
  /** Whether a person waits for it; default: false. */
  readonly isInteractive?: boolean
  readonly onProgress: OnProgress
  readonly signal: AbortSignal
}

/** Makes sure that a loop runs. Those who want the same at the same time share one start and its progress. */
export async function startLoop(context: LoopContext, request: StartRequest): Promise<StartOutcome> {
  const { id, mode, cause, isInteractive = false, onProgress, signal } = request
  using _person = isInteractive ? context.admission?.promote(id) : undefined
  const joined = mode === 'use' && context.starts.isRunning(keyOf(id, 'start')) ? 'start' : mode
  const start = (report: OnProgress, shared: AbortSignal) => {
    const common = { id, mode, cause, isInteractive, onProgress: report, signal: shared }
    return context.turns.run(id, () => startInTurn(context, common), shared)
  }
  return await context.starts.run(keyOf(id, joined), { start, onProgress }, signal)
}

/** Reports whether a start that a user of the loop can wait for is under way. */
export function isStarting({ starts }: LoopContext, id: string): boolean {
  return starts.isRunning(keyOf(id, 'start')) || starts.isRunning(keyOf(id, 'use'))
}

function keyOf(id: string, mode: StartMode): string {
  return `${mode} ${id}`
}

/** The same, for callers that have the loop's turn already. */
export async function startInTurn(context: LoopContext, request: StartRequest): Promise<StartOutcome> {
  const { id, mode, cause, signal } = request
  const { stored, plan } = await firstPlan(context, id, mode, signal)
  if (plan.kind === 'none') {
    context.board.noteFailure(id, undefined)
    return { action: 'none', reason: null }
  }
  const holder =
    plan.kind === 'recreate' ? { owner: 'recreation', reason: plan.reason } : { owner: 'start', reason: cause.text }
  using _lease = context.leases.acquire(id, { ...holder, passive: true })
  // Nobody is told of a look into an archived loop: it stays archived.
  const end =
    stored.meta.archivedAt === undefined
      ? context.board.begin(stored, { activity: 'starting', cause })
      : () => undefined
  try {
    const outcome = await carryOut(context, stored, plan, request)
    context.board.noteFailure(id, undefined)
    await noteStart(context, stored, { ...outcome, mode })
    return outcome
  } catch (error) {
    if (!signal.aborted) context.board.noteFailure(id, messageOf(error))
    context.cache.touch(id)
    throw await tellTakenBack(context, stored, error)
  } finally {
    end()
    await republish(context, id)
  }
}

/** Where there is no container, one that an interrupted recreation set aside comes back first. */
async function firstPlan(context: LoopContext, id: string, mode: StartMode, signal: AbortSignal) {
  for (let isSettled = false; ; isSettled = true) {
    const stored = await readLoop(context, id)
    if (mode !== 'look') refuseArchived(stored.meta)
    const imageId = context.images.known(stored.meta.image)
    const plan = await planFor(context, stored.meta, { mode, imageId, signal })
    if (plan.kind !== 'create' || isSettled) return { stored, plan }
    const call = { doing: `look at loop "${stored.meta.name}"`, refusal: 'engine_failed' } as const
    if (!(await callEngine(call, () => settleReplacement(context, id, signal)))) return { stored, plan }
  }
}

/** A start that failed with a change that no container had proven says that the loop is as it was before. */
async function tellTakenBack({ store }: LoopContext, { id, meta }: ReadableLoop, error: unknown): Promise<unknown> {
  if (meta.update === undefined || !isLoopatError(error)) return error
  const now = await store.read(id)
  if (now?.kind !== 'readable' || now.meta.update !== undefined) return error
  return new LoopatError(error.code, `the change of loop "${meta.name}" was taken back: ${error.message}`, {
    next: error.next ?? `Change it otherwise: loopctl update ${meta.name}`,
    details: { ...error.details, loop: id },
    cause: error,
  })
}

/** Reports whether somebody uses a loop now. */
export function isUsed({ leases }: LoopContext, id: string): boolean {
  return leases.isHeld(id)
}

interface PlanFacts {
  readonly container: ContainerDetails | undefined
  readonly mode: StartMode
  readonly imageId: string | undefined
  readonly signal: AbortSignal
}

/** Decides how to bring a loop up, from what is known now. @throws catalogue errors */
export async function planFor(
  context: LoopContext,
  meta: Meta,
  { mode, imageId, signal }: { mode: StartMode; imageId: string | undefined; signal: AbortSignal },
): Promise<StartPlan> {
  return await planWith(context, meta, { container: await containerOf(context, meta, signal), mode, imageId, signal })
}

/** The container of a loop as it is now. @throws catalogue errors */
export async function containerOf({ cache }: LoopContext, { id, name }: Meta, signal: AbortSignal) {
  const call = { doing: `look at loop "${name}"`, refusal: 'engine_failed' } as const
  return await callEngine(call, () => cache.current(id, signal))
}

/** As {@link planFor}, of a container that was just looked at. */
export async function planWith(
  context: LoopContext,
  meta: Meta,
  { container, mode, imageId, signal }: PlanFacts,
): Promise<StartPlan> {
  const isRunning = container?.status === 'running'
  const acceptDrift = mode === 'look' || (mode === 'use' && isRunning && isUsed(context, meta.id))
  if (isRunning && acceptDrift) return { kind: 'none' }
  const { draft } = await wantedOf(context, meta, signal)
  const { persistence = 'persistent', update } = meta
  return planStart({ container, draft, imageId, acceptDrift, persistence, fresh: update?.fresh ?? false })
}

async function carryOut(
  context: LoopContext,
  { meta }: ReadableLoop,
  guess: StartPlan,
  { mode, isInteractive = false, onProgress, signal }: StartRequest,
): Promise<StartOutcome> {
  const needsImage = mode !== 'look' || guess.kind !== 'start'
  const image = needsImage ? await ensureImage(context, meta, onProgress, signal) : undefined
  const { id, name } = meta
  using _place = await context.admission?.enter({ id, name, isInteractive, onProgress }, signal)
  const plan = await planFor(context, meta, { mode, imageId: image?.id, signal })
  if (plan.kind === 'none') return { action: 'none', reason: null }
  if (plan.kind === 'recreate') {
    context.log.warn({ loop: meta.id, reason: plan.reason }, 'a container is made anew')
    onProgress({ message: `Making the container anew: ${plan.reason}` })
  }
  const common = { meta, image, isForUse: mode === 'use', onProgress, signal }
  try {
    const reason = await bringUp(context, { ...common, plan })
    if (plan.kind === 'create') return { action: 'created', reason }
    return { action: reason === null ? 'started' : 'recreated', reason }
  } catch (error) {
    if (plan.kind !== 'start' || !(await hasVanished(context, id, { error, signal }))) throw error
    return { action: 'created', reason: await bringUp(context, { ...common, plan: { kind: 'create' } }) }
  }
}

/** Reports whether a start failed because its container was removed a moment ago: the event of that is still to come. */
async function hasVanished(
  { cache }: LoopContext,
  id: string,
  { error, signal }: { error: unknown; signal: AbortSignal },
): Promise<boolean> {
  const cause = isLoopatError(error) ? error.cause : error
  return isEngineError(cause, 'not_found') && (await cache.inspect(id, signal)) === undefined
}

/** Makes sure that the image of a loop is there, which may take a build: the loop stays awake for it. */
export async function ensureImage(
  { images, leases }: LoopContext,
  { id, image }: Pick<Meta, 'id' | 'image'>,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<LoopImage> {
  using _lease = leases.acquire(id, { owner: 'image', reason: image ?? 'the sandbox image', passive: true })
  if (image === undefined) return await images.ensure(onProgress, signal)
  return await images.ensureNamed(image, onProgress, signal)
}

/**
 * Notes on disk that the loop ran once, why it got a new container, and that a change of it is proven. A full disk does
 * not keep it from running.
 */
async function noteStart(
  { store, clock, log }: LoopContext,
  { id, meta }: ReadableLoop,
  { action, reason, mode }: StartOutcome & { mode: StartMode },
): Promise<void> {
  const isChange = action === 'recreated' && reason !== null && reason !== EPHEMERAL
  const isProven = meta.update !== undefined && mode !== 'look'
  if (meta.firstStartedAt !== undefined && !isChange && !isProven) return
  const at = clock.now().toISOString()
  const change = isChange ? { recreated: { at, reason } } : {}
  try {
    await store.update(id, (now) => ({
      ...(isProven ? proven(now) : now),
      firstStartedAt: now.firstStartedAt ?? at,
      ...change,
    }))
  } catch (error) {
    if (!isLoopatError(error, 'storage_failed')) throw error
    log.warn({ loop: id, err: error }, 'the start of a loop cannot be noted')
  }
}
