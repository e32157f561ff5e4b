import type { Labels } from '../engine/engine.ts'
import { isEngineError } from '../engine/engine.ts'
import type { LoopContext } from './loop-context.ts'
import { isLoopId } from './loop-path.ts'
import { LABEL } from './loop-spec.ts'

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
  for (const { id, name, labels, status } of await engine.container.list(ours, signal)) {
    if (await hasLoop(context, labels)) {
      if (status === 'running') log.info({ loop: labels[LABEL.loop], container: name }, 'a running loop was adopted')
      continue
    }
    log.warn({ loop: labels[LABEL.loop], container: name }, 'removing a container whose loop is gone')
    await engine.container.remove(id, signal)
  }
  for (const { name, labels } of await engine.network.list(ours, signal)) {
    if (await hasLoop(context, labels)) continue
    log.warn({ loop: labels[LABEL.loop], network: name }, 'removing a network whose loop is gone')
    await removeUnused(context, name, signal)
  }
  const orphans = await engine.container.cleanUp()
  if (orphans > 0) log.warn({ orphans }, 'ended containers that ran although they were removed')
  const count = await engine.image.cleanUp(signal)
  if (count > 0) log.info({ count }, 'removed what interrupted builds left behind')
  await store.purge()
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
