import type { UninstallPlan, UninstallResource, UninstallVerdict } from '@loopatd/protocol'
import type { Engine } from '../engine/engine.ts'
import { namesIn, type RemoveTree, removeHome } from './workspace-files.ts'

/** What removes things. */
export interface UninstallTools {
  /** Undefined without podman; the plan names nothing in it then. */
  readonly engine: Engine | undefined
  /** Ends the workspace's own podman service. */
  endService(): Promise<void>
  readonly removeTree: RemoveTree
}

/**
 * Removes what the plan names, in its order, and tells of each thing what became of it. A failure does not keep the rest
 * from going, with one exception: data is left alone while a container that may use it is left.
 * @throws the reason of the signal
 */
export async function* uninstall(
  plan: UninstallPlan,
  tools: UninstallTools,
  signal: AbortSignal,
): AsyncGenerator<UninstallVerdict> {
  let containersLeft = 0
  for (const resource of plan.resources) {
    signal.throwIfAborted()
    const blocked = resource.kind === 'data' && containersLeft > 0
    const reason = blocked ? 'a container that may use it is left' : await attempt(resource, plan, tools, signal)
    if (reason !== null && resource.kind === 'container') containersLeft += 1
    yield { ...resource, removed: reason === null, reason }
  }
}

/** @returns why it is left, null when it is gone */
async function attempt(
  resource: UninstallResource,
  plan: UninstallPlan,
  tools: UninstallTools,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    await remove(resource, plan, tools, signal)
    return (await isLeft(resource, tools, signal)) ? 'it is still there' : null
  } catch (error) {
    signal.throwIfAborted()
    // Whatever it is, the reader wants to know, and the other things are to go all the same.
    return error instanceof Error ? error.message : String(error)
  }
}

async function remove(
  { kind, name }: UninstallResource,
  plan: UninstallPlan,
  { engine, endService, removeTree }: UninstallTools,
  signal: AbortSignal,
): Promise<void> {
  if (kind === 'container') await engine?.container.remove(name, signal)
  else if (kind === 'image') await engine?.image.untag(name, signal)
  else if (kind === 'network') await engine?.network.remove(name, signal)
  else if (kind === 'service') await endService()
  else if (name === plan.home) await removeHome(name, removeTree)
  else await removeTree(name)
}

async function isLeft(
  { kind, name }: UninstallResource,
  { engine }: UninstallTools,
  signal: AbortSignal,
): Promise<boolean> {
  if (kind === 'container') return (await engine?.container.inspect(name, signal)) !== undefined
  if (kind === 'image') return (await engine?.image.inspect(name, signal)) !== undefined
  if (kind === 'data') return (await namesIn(name)).length > 0
  return false
}
