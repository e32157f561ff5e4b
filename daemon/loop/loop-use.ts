import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import type { OnProgress } from '../lib/progress.ts'
import { workdirInside } from './inside.ts'
import { findLoop, type LoopContext, readLoop, refuseArchived } from './loop-context.ts'
import { type Meta, vaultOf } from './loop-meta.ts'
import { baseEnv, containerName } from './loop-spec.ts'
import { containerOf, isStarting, isUsed, planWith, startLoop } from './loop-start.ts'

/** How often a loop that stops again at once is started for one user. */
const MAX_STARTS = 3

/** What a user of a loop says about itself. */
export interface LoopUseRequest {
  /** Whether a stopped loop is started; when false, a stopped loop is an error. */
  readonly start: boolean
  /** What uses it: `exec`, `terminal`, `job` and others. */
  readonly owner: string
  /** For people, such as the command that runs. */
  readonly reason: string
  /** Whether a person waits for it; default: false. */
  readonly interactive?: boolean
  /** Asks the user to let go, because the loop is about to stop. Must not throw; may be called more than once. */
  readonly end?: () => void
}

/** A running loop, kept awake until it is released. */
export interface LoopUse extends Disposable {
  readonly loopId: string
  readonly name: string
  /** Name of its container. */
  readonly container: string
  /** Host pid of the container's first process, as last known without asking the engine; 0 when it does not run. */
  readonly containerPid: () => number
  /** Path of the workdir inside. */
  readonly workdir: string
  /** Plain variables for every command in it. */
  readonly env: Readonly<Record<string, string>>
  /** Variables of its vault that no plain one of its own overrides, as they were when the use was taken. */
  readonly secrets: Readonly<Record<string, string>>
  /** Its control directory on the host. */
  readonly control: string
  /** Gives the loop back. Later calls do nothing. */
  release(): void
}

/**
 * Makes sure that a loop runs and takes a lease on it; between the look and the lease nothing can stop it.
 * @throws as a start does, and `loop_not_running` when it is stopped and must not be started
 */
export async function useLoop(
  context: LoopContext,
  ref: string,
  request: LoopUseRequest,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<LoopUse> {
  const { id } = await findLoop(context, ref)
  // Waiting for a start under way shows its progress; waiting for the turn would not.
  const cause = { by: 'use', text: `${request.owner}: ${request.reason}` } as const
  const start = { id, mode: 'use', cause, isInteractive: request.interactive ?? false, onProgress, signal } as const
  if (request.start && isStarting(context, id)) await startLoop(context, start)
  for (let starts = 0; starts <= MAX_STARTS; starts += 1) {
    const use = await context.turns.run(id, () => takeRunning(context, id, request, signal), signal)
    if (use !== undefined) return use
    await startLoop(context, start)
  }
  throw new LoopatError('start_failed', `loop "${ref}" was started ${MAX_STARTS} times and stopped again each time`, {
    next: 'Look for what stops it: loopctl daemon logs',
    details: { loop: id },
  })
}

/** Plain variables of every command in a loop. */
export function envOf({ id, name, env }: Meta): Readonly<Record<string, string>> {
  return { ...baseEnv(id), LOOPAT_LOOP_NAME: name, ...env }
}

/** Variables of the vault, but for those that the loop sets itself. @throws `vault_not_found`, `vault_invalid` */
async function secretsOf({ vaults }: LoopContext, meta: Meta, signal: AbortSignal) {
  const { env = {} } = meta
  const secrets = Object.entries(await vaults.env(meta.user, vaultOf(meta), signal))
  return Object.fromEntries(secrets.filter(([name]) => !Object.hasOwn(env, name)))
}

/** @returns undefined when it has to be started first */
async function takeRunning(
  context: LoopContext,
  id: string,
  request: LoopUseRequest,
  signal: AbortSignal,
): Promise<LoopUse | undefined> {
  const { meta } = await readLoop(context, id)
  refuseArchived(meta)
  if (!(await isUsable(context, meta, request.start, signal))) return undefined
  const secrets = await secretsOf(context, meta, signal)
  const { owner, reason, end } = request
  const lease = context.leases.acquire(id, { owner, reason, ...(end === undefined ? {} : { end }) })
  return {
    loopId: id,
    name: meta.name,
    container: containerName(context.workspace, id),
    containerPid: () => context.cache.peek(id)?.pid ?? 0,
    workdir: workdirInside(id),
    env: envOf(meta),
    secrets,
    control: join(context.paths.control, id),
    release: lease.release,
    [Symbol.dispose]: lease.release,
  }
}

async function isUsable(context: LoopContext, meta: Meta, start: boolean, signal: AbortSignal): Promise<boolean> {
  const { images, looks } = context
  const container = await containerOf(context, meta, signal)
  if (start) {
    const imageId = images.known(meta.image)
    const facts = [meta, container, imageId]
    if (looks.has(meta.id, facts)) return true
    const isInOrder = (await planWith(context, meta, { container, mode: 'use', imageId, signal })).kind === 'none'
    // What others use is kept although it may differ, which says nothing about the next command.
    if (isInOrder && !isUsed(context, meta.id)) looks.note(meta.id, facts)
    return isInOrder
  }
  if (container?.status === 'running') return true
  throw new LoopatError('loop_not_running', `loop "${meta.name}" is not running`, {
    next: `Run: loopctl start ${meta.name}`,
    details: { loop: meta.id },
  })
}
