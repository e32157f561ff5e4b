import { isLoopatError } from '@loopatd/protocol'
import type { ContainerSummary, Labels } from '../engine/engine.ts'
import { isEngineError } from '../engine/engine.ts'
import { layerRepository } from '../image/image-recipe.ts'
import type { LoopContext } from './loop-context.ts'
import { readLayerTag, settleLayer } from './loop-layer.ts'
import { isLoopId } from './loop-path.ts'
import { isAside, settleReplacement } from './loop-replace.ts'
import { LABEL } from './loop-spec.ts'
import { startLoop } from './loop-start.ts'

/** How often the engine is cleaned up, and the pause between two times in milliseconds. */
const CLEAN_UPS = 3
const CLEAN_UP_PAUSE_MS = 5000

/**
 * Makes what exists and what should be agree after a start of the daemon (law 13). Containers of loops are taken as
 * they are, never made anew. What belongs to a loop whose directory is gone is removed; a loop whose metadata is merely
 * unreadable keeps everything.
 * @throws EngineError when the engine goes away meanwhile
 */
export async function reconcile(context: LoopContext, signal: AbortSignal): Promise<void> {
  const { engine, log, store, workspace } = context
  const ours = { [LABEL.workspace]: workspace }
  if (context.homeIsNew === true && (await engine.container.list(ours, signal)).length > 0) {
    log.warn({}, 'the home is new, yet podman has containers of its loops: they stay (is the right disk mounted?)')
    return
  }
  const containers = await engine.container.list(ours, signal)
  await settleAll(context, containers, signal)
  const adopted: Adopted[] = []
  for (const { id, name, labels, status } of containers) {
    if (isAside(name) && (await hasLoop(context, labels))) continue
    if (await hasLoop(context, labels)) {
      if (status === 'running') adopted.push({ loop: labels[LABEL.loop], container: name })
      continue
    }
    log.warn({ loop: labels[LABEL.loop], container: name }, 'removing a container whose loop is gone')
    await engine.container.remove(id, signal)
  }
  await adopt(context, adopted, signal)
  await pruneLayers(context, signal)
  for (const { name, labels } of await engine.network.list(ours, signal)) {
    if (await hasLoop(context, labels)) continue
    log.warn({ loop: labels[LABEL.loop], network: name }, 'removing a network whose loop is gone')
    await removeUnused(context, name, signal)
  }
  await store.purge()
  await cleanUpEngine(context, signal)
}

interface Adopted {
  readonly loop: string | undefined
  readonly container: string
}

async function adopt({ agents, engine, log }: LoopContext, adopted: readonly Adopted[], signal: AbortSignal) {
  const pids: number[] = []
  for (const { loop, container } of adopted) {
    const { pid = 0 } = (await engine.container.inspect(container, signal)) ?? {}
    if (pid > 0) pids.push(pid)
    log.info({ loop, container }, 'a running loop was adopted')
  }
  const orphans = (await agents?.adopt(pids)) ?? 0
  if (orphans > 0) log.warn({ orphans }, 'ended commands whose daemon was killed')
}

/**
 * Cleans up in the engine, and again after a while: an engine that was killed may need a moment to be gone, in which what
 * it made looks as if it were still worked on.
 */
async function cleanUpEngine({ engine, log, clock }: LoopContext, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; attempt <= CLEAN_UPS; attempt += 1) {
    if (attempt > 1) await clock.sleep(CLEAN_UP_PAUSE_MS, signal)
    const orphans = await engine.container.cleanUp()
    if (orphans > 0) log.warn({ orphans }, 'ended containers that ran although they were removed')
    const count = await engine.image.cleanUp(signal)
    if (count > 0) log.info({ count }, 'removed what interrupted builds left behind')
  }
}

/** Ends recreations that were interrupted. A loop that was running, and was to be changed, runs again. */
async function settleAll(
  context: LoopContext,
  containers: readonly ContainerSummary[],
  signal: AbortSignal,
): Promise<void> {
  const aside = new Set(containers.filter(({ name }) => isAside(name)).map(({ labels }) => labels[LABEL.loop]))
  for (const stored of await context.store.list()) {
    if (stored.kind === 'broken') continue
    const { id, meta } = stored
    const wasRunning = meta.update?.underWay === true
    if (!aside.has(id) && !wasRunning) continue
    await context.turns.run(id, () => settleReplacement(context, id, signal), signal)
    if (wasRunning && meta.archivedAt === undefined) await startAgain(context, id, signal)
  }
}

async function startAgain(context: LoopContext, id: string, signal: AbortSignal): Promise<void> {
  try {
    await startLoop(context, {
      id,
      mode: 'use',
      cause: { by: 'request', text: 'update' },
      onProgress: () => undefined,
      signal,
    })
  } catch (error) {
    if (!isLoopatError(error)) throw error
    context.log.error({ loop: id, err: error }, 'a loop whose change was interrupted does not start')
  }
}

/** Removes saved layers of loops that are gone, and those that no container was made from. */
async function pruneLayers(context: LoopContext, signal: AbortSignal): Promise<void> {
  const { engine, workspace, store } = context
  for (const { id, tags } of await engine.image.list(`${layerRepository(workspace)}:`, signal)) {
    for (const tag of tags) {
      const layer = readLayerTag(workspace, tag)
      if (layer === undefined) continue
      if ((await store.read(layer.loop)) === undefined) await engine.image.untag(tag, signal)
      else if (layer.isPending) await settlePending(context, layer.loop, { id, tag }, signal)
    }
  }
}

/** A layer whose container runs is its own, also when the daemon ended before it could say so. Without one it waits. */
async function settlePending(
  context: LoopContext,
  loop: string,
  { id, tag }: { id: string; tag: string },
  signal: AbortSignal,
): Promise<void> {
  await context.turns.run(
    loop,
    async () => {
      const container = await context.cache.inspect(loop, signal)
      // Saved by a start since the images were listed: not ours to settle.
      const isSame = (await context.engine.image.inspect(tag, signal))?.id === id
      if (container === undefined || !isSame) return
      if (container.imageId === id) await settleLayer(context, loop, signal)
      else await context.engine.image.untag(tag, signal)
    },
    signal,
  )
}

/** Reports whether there is a loop, readable or not. What has no loop's label is somebody else's: hands off. */
async function hasLoop({ store }: LoopContext, labels: Labels): Promise<boolean> {
  const id = labels[LABEL.loop]
  if (id === undefined || !isLoopId(id)) return true
  return (await store.read(id)) !== undefined
}

async function removeUnused({ engine, log }: LoopContext, network: string, signal: AbortSignal): Promise<void> {
  try {
    await engine.network.remove(network, signal)
  } catch (error) {
    if (!isEngineError(error, 'in_use')) throw error
    log.warn({ network, err: error }, 'a network is still used and stays')
  }
}
