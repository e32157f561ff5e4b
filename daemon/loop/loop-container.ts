import { lstat, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { type ContainerDetails, isEngineError } from '../engine/engine.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { LoopContext } from './loop-context.ts'
import { toLoopError } from './loop-failure.ts'
import type { Meta } from './loop-meta.ts'
import type { LoopImage } from './loop-options.ts'
import { isOurs, type StartPlan } from './loop-plan.ts'
import { completeSpec, containerName, networkOf, ownerLabels } from './loop-spec.ts'
import { wantedOf } from './loop-wanted.ts'
import { prepareMountPoints } from './mount-point.ts'
import { errorCode } from './storage-health.ts'

/** Milliseconds that the users of a loop have to let go before its container is stopped. */
export const END_GRACE_MS = 5_000
/** Seconds between TERM and KILL when a container makes way for a new one (rule C-13). */
export const REPLACE_GRACE_SECONDS = 5
/** Failures that a new container mends. */
export const REPAIRABLE = ['mount_missing', 'network_stale', 'port_taken', 'runtime_stale'] as const

/** A container that is to be brought up. */
export interface BringUp {
  readonly meta: Meta
  /** Undefined when no container is made. */
  readonly image: LoopImage | undefined
  readonly plan: StartPlan
  /** Whether a command is to run as soon as it is up; default: false. */
  readonly isForUse?: boolean
  readonly onProgress: OnProgress
  readonly signal: AbortSignal
}

/** The image to make a container from. */
export function imageOf({ meta, image }: Pick<BringUp, 'meta' | 'image'>): LoopImage {
  if (image === undefined) throw new LoopatError('internal', `no image to make the container of loop ${meta.id} from`)
  return image
}

/**
 * Ends all use of a loop's container, stops and removes it. A foreign one of its name is left alone.
 * @throws EngineError
 */
export async function clearAway(context: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  const details = await context.cache.inspect(id, signal)
  if (details === undefined) return
  if (details.status === 'running') {
    await context.leases.endAll(id, END_GRACE_MS, signal)
    await stopOrGiveUp(context, details, REPLACE_GRACE_SECONDS, signal)
  }
  await context.engine.container.remove(details.id, signal)
}

/**
 * Stops a container.
 * @returns whether it stopped; one that hangs can only be removed
 * @throws EngineError
 */
export async function stopOrGiveUp(
  { engine, log }: LoopContext,
  { id, name }: ContainerDetails,
  graceSeconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await engine.container.stop(id, graceSeconds, signal)
    return true
  } catch (error) {
    if (isEngineError(error, 'not_found')) return true
    if (!isEngineError(error, 'wrong_state', 'failed')) throw error
    log.warn({ container: name, err: error }, 'a container does not stop')
    return false
  }
}

/** Removes the networks of a loop that nobody uses any more. @throws EngineError */
export async function removeNetworks({ engine, workspace, log }: LoopContext, id: string, signal: AbortSignal) {
  for (const { name } of await engine.network.list(ownerLabels(workspace, id), signal)) {
    try {
      await engine.network.remove(name, signal)
    } catch (error) {
      if (!isEngineError(error, 'in_use')) throw error
      log.warn({ network: name, err: error }, 'a network is still used and stays')
    }
  }
}

/** Starts the container of a loop. @throws EngineError */
export async function start(
  { engine, workspace, agents, paths }: LoopContext,
  { meta, isForUse = false, onProgress, signal }: BringUp,
): Promise<void> {
  onProgress({ message: 'Starting the container' })
  await engine.container.start(containerName(workspace, meta.id), signal)
  // It takes the agent as long to get ready as it takes to find out whether the container stays up.
  if (isForUse) agents?.expect(join(paths.control, meta.id))
}

/**
 * Makes the container of a loop, and what it needs.
 * @param layer image with what was changed in the container before; its own image otherwise
 * @throws EngineError of the {@link REPAIRABLE} kinds, catalogue errors
 */
export async function create(context: LoopContext, wanted: BringUp, layer: string | undefined): Promise<void> {
  const { meta, onProgress, signal } = wanted
  const image = imageOf(wanted)
  const { engine, workspace } = context
  onProgress({ message: 'Creating the container (the first time for an image may take minutes)' })
  try {
    await engine.network.ensure(networkOf(meta, workspace), signal)
    // Looked at once more: what a source leads to may have changed since the plan was made.
    const { draft, skipped } = await wantedOf(context, meta, signal)
    for (const mount of skipped) context.log.warn({ loop: meta.id, ...mount }, 'a mount is left out')
    await context.store.guard(meta.id, () => prepareMountPoints(draft.mounts))
    const spec = completeSpec(draft, { id: meta.id, workspace }, { ...image, tag: layer ?? image.tag })
    try {
      await engine.container.create(spec, signal)
    } catch (error) {
      // An engine that went away may have made it all the same; it is asked again when it is back.
      if (!isEngineError(error, 'name_taken', 'connection_lost')) throw error
      await clearStale(context, meta, draft.name, signal)
      await engine.container.create(spec, signal)
    }
  } catch (error) {
    if (isEngineError(error, ...REPAIRABLE)) throw error
    throw toLoopError(error, { doing: `create the container of loop "${meta.name}"`, refusal: 'engine_failed' })
  }
}

/** Removes what has the name of a loop's container, if it is ours (D10). @throws `name_taken`, EngineError */
async function clearStale({ engine, workspace, log }: LoopContext, meta: Meta, name: string, signal: AbortSignal) {
  const other = await engine.container.inspect(name, signal)
  if (other === undefined) return
  if (!isOurs(other, workspace, meta.id)) {
    throw new LoopatError('name_taken', `a container that is not loopat's has the name "${name}"`, {
      next: `Run: podman rename ${name} NEW_NAME`,
      details: { loop: meta.id, container: name },
    })
  }
  log.warn({ loop: meta.id, container: name }, 'a container of ours that nobody knew of makes way')
  await engine.container.remove(other.id, signal)
}

/** Makes the directories that are ours to make, and checks the others: an engine would silently make empty ones. */
export async function prepareSources({ store, repos, paths, agents, host }: LoopContext, meta: Meta): Promise<void> {
  const { workdir } = store.paths(meta.id)
  await requireDirectory(meta, workdir, 'its workdir')
  if (meta.repo !== undefined) {
    await requireDirectory(meta, repos.mirrorPath(meta.repo.mirror), 'the mirror that its clone borrows from')
  }
  await store.prepareMounts(meta.id)
  const control = join(paths.control, meta.id)
  try {
    await mkdir(control, { recursive: true, mode: 0o700 })
    await agents?.prepare(control)
    await host?.prepare(meta.id)
  } catch (error) {
    const code = errorCode(error)
    if (code === undefined) throw error
    throw new LoopatError('storage_failed', `cannot make ${control} (${code})`, {
      next: `Check the space and the permissions of ${paths.control}.`,
      details: { path: control, code },
      cause: error,
    })
  }
}

async function requireDirectory(meta: Meta, path: string, what: string): Promise<void> {
  try {
    if ((await lstat(path)).isDirectory()) return
  } catch (error) {
    if (errorCode(error) === undefined) throw error
  }
  throw new LoopatError('start_failed', `loop "${meta.name}" cannot start: ${what}, ${path}, is not there`, {
    next: `Restore it, or run: loopctl rm --force ${meta.name}`,
    details: { loop: meta.id, path },
  })
}

/** Makes sure that a started container did not end at once. @throws `start_failed`, EngineError */
export async function verifyRunning({ cache }: LoopContext, meta: Meta, signal: AbortSignal): Promise<void> {
  const details = await cache.inspect(meta.id, signal)
  if (details?.status === 'running') return
  const how = details === undefined ? 'is gone' : `ended at once with exit code ${details.exitCode ?? 'unknown'}`
  throw new LoopatError('start_failed', `loop "${meta.name}" does not stay up: its container ${how}`, {
    next: 'Check that the image has /bin/sh and sleep.',
    details: { loop: meta.id },
  })
}
