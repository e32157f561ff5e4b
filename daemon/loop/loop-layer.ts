import type { ContainerDetails } from '../engine/engine.ts'
import { layerRepository } from '../image/image-recipe.ts'
import type { LoopContext } from './loop-context.ts'
import type { Meta } from './loop-meta.ts'
import type { LoopImage } from './loop-options.ts'
import { isLoopId } from './loop-path.ts'
import { LABEL } from './loop-spec.ts'

/** Ends the name of a layer that no container has proven. */
const PENDING = '-next'

/** Reads the name of a layer; undefined when it is none of the workspace. */
export function readLayerTag(workspace: string, tag: string): { loop: string; isPending: boolean } | undefined {
  const prefix = `${layerRepository(workspace)}:`
  if (!tag.startsWith(prefix)) return undefined
  const name = tag.slice(prefix.length)
  const loop = name.endsWith(PENDING) ? name.slice(0, -PENDING.length) : name
  return isLoopId(loop) ? { loop, isPending: loop !== name } : undefined
}

/** The layer that the container of a loop is made from. */
function layerTag(workspace: string, id: string): string {
  return `${layerRepository(workspace)}:${id}`
}

/** A layer that no container has proven yet. */
function pendingTag(workspace: string, id: string): string {
  return `${layerTag(workspace, id)}${PENDING}`
}

/**
 * Reports whether what was changed in a container moves over to the next one: not to one from another image, and not
 * in a loop whose containers are meant to be fresh. Pure.
 */
export function keepsLayer({ labels, status }: ContainerDetails, meta: Meta, image: LoopImage): boolean {
  if (meta.persistence === 'ephemeral' || meta.update?.fresh === true) return false
  return status !== 'created' && labels[LABEL.baseImage] === image.id
}

/** Makes a layer of a stopped container. @returns the name of the image. @throws EngineError */
export async function saveLayer(
  { engine, workspace }: LoopContext,
  id: string,
  { container, signal }: { container: string; signal: AbortSignal },
): Promise<string> {
  const tag = pendingTag(workspace, id)
  await engine.container.commit(container, tag, signal)
  return tag
}

/** The layer that an interrupted recreation saved, if it belongs to the image. @throws EngineError */
export async function findPendingLayer(
  { engine, workspace }: LoopContext,
  id: string,
  { image, signal }: { image: LoopImage; signal: AbortSignal },
): Promise<string | undefined> {
  const tag = pendingTag(workspace, id)
  const found = await engine.image.inspect(tag, signal)
  return found?.labels[LABEL.baseImage] === image.id ? tag : undefined
}

/** The new container runs: the saved layer is its own now, and that of the container before goes. @throws EngineError */
export async function settleLayer({ engine, workspace }: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  const [tag, pending] = [layerTag(workspace, id), pendingTag(workspace, id)]
  await engine.image.untag(tag, signal)
  if ((await engine.image.inspect(pending, signal)) === undefined) return
  await engine.image.tag(pending, tag, signal)
  await engine.image.untag(pending, signal)
}

/** Removes a saved layer that no container was made from. @throws EngineError */
export async function dropPendingLayer({ engine, workspace }: LoopContext, id: string, signal: AbortSignal) {
  await engine.image.untag(pendingTag(workspace, id), signal)
}

/** Removes every layer of a loop; call it when its container is gone. @throws EngineError */
export async function removeLayers({ engine, workspace }: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  for (const tag of [pendingTag(workspace, id), layerTag(workspace, id)]) await engine.image.untag(tag, signal)
}
