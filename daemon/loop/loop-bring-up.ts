import { isEngineError } from '../engine/engine.ts'
import {
  type BringUp,
  clearAway,
  create,
  imageOf,
  prepareSources,
  REPAIRABLE,
  removeNetworks,
  start,
  verifyRunning,
} from './loop-container.ts'
import type { LoopContext } from './loop-context.ts'
import { messageOf, toLoopError } from './loop-failure.ts'
import { findPendingLayer, keepsLayer, saveLayer, settleLayer } from './loop-layer.ts'
import { removeAside, replaceContainer } from './loop-replace.ts'

/**
 * Brings the container of a loop up as planned. A container that makes way comes back when the new one does not run.
 * What fails for a stale network, a vanished mount source, a taken port or the rest of a start that was killed is
 * repaired once by making the container anew. What was changed in a container moves over to the next one.
 * @returns why the container was made anew, null when it was not
 * @throws `start_failed` and other catalogue errors
 */
export async function bringUp(context: LoopContext, wanted: BringUp): Promise<string | null> {
  const { meta, plan } = wanted
  try {
    await prepareSources(context, meta)
    switch (plan.kind) {
      case 'none':
        return null
      case 'start':
        return await startAgain(context, wanted)
      case 'create':
        return await makeFirst(context, wanted)
      case 'recreate':
        await renew(context, wanted)
        return plan.reason
    }
  } catch (error) {
    throw toLoopError(error, { doing: `start loop "${meta.name}"`, refusal: 'start_failed' })
  }
}

async function startAgain(context: LoopContext, wanted: BringUp): Promise<string | null> {
  try {
    await start(context, wanted)
    await verifyRunning(context, wanted.meta, wanted.signal)
    return null
  } catch (error) {
    if (!isEngineError(error, ...REPAIRABLE) || wanted.image === undefined) throw error
    noteRepair(context, wanted, error)
    const { meta, image, signal } = wanted
    const old = await context.cache.inspect(meta.id, signal)
    const keeps = old !== undefined && keepsLayer(old, meta, image)
    // It is of no more use, so it need not come back; should the daemon end now, the next start finds what was saved.
    const layer = keeps ? await saveLayer(context, meta.id, { container: old.id, signal }) : undefined
    await clearAway(context, meta.id, signal)
    if (error.kind === 'network_stale') await removeNetworks(context, meta.id, signal)
    await makeOnce(context, wanted, layer)
    await settleLayer(context, meta.id, signal)
    return `its start failed: ${messageOf(error)}`
  }
}

async function makeFirst(context: LoopContext, wanted: BringUp): Promise<string | null> {
  const { meta, signal } = wanted
  const layer = await findPendingLayer(context, meta.id, { image: imageOf(wanted), signal })
  const repaired = await makeAndStart(context, wanted, layer)
  if (layer !== undefined) await settleLayer(context, meta.id, signal)
  return repaired
}

async function renew(context: LoopContext, wanted: BringUp): Promise<void> {
  const { meta, onProgress, signal } = wanted
  const old = await context.cache.inspect(meta.id, signal)
  if (old === undefined) return void (await makeFirst(context, wanted))
  const keeps = keepsLayer(old, meta, imageOf(wanted))
  const make = async (isStopped: boolean) => {
    if (keeps && isStopped) onProgress({ message: 'Keeping what was changed in the container' })
    const container = keeps && isStopped ? old.id : undefined
    const layer = container === undefined ? undefined : await saveLayer(context, meta.id, { container, signal })
    await makeAndStart(context, wanted, layer)
  }
  await replaceContainer(context, { id: meta.id, old }, make, signal)
}

/** @returns why the first attempt was repaired, null when it was not. @throws EngineError or a catalogue error */
async function makeAndStart(context: LoopContext, wanted: BringUp, layer: string | undefined): Promise<string | null> {
  const { meta, signal } = wanted
  try {
    await makeOnce(context, wanted, layer)
    return null
  } catch (error) {
    if (!isEngineError(error, ...REPAIRABLE)) throw error
    noteRepair(context, wanted, error)
    await prepareSources(context, meta)
    await clearAway(context, meta.id, signal)
    if (error.kind === 'network_stale') {
      // It may be there and be of no use all the same; what is set aside hangs on to it and could not start either.
      await removeAside(context, meta.id, signal)
      await removeNetworks(context, meta.id, signal)
    }
    await makeOnce(context, wanted, layer)
    return `its start failed: ${messageOf(error)}`
  }
}

async function makeOnce(context: LoopContext, wanted: BringUp, layer: string | undefined): Promise<void> {
  await create(context, wanted, layer)
  await start(context, wanted)
  await verifyRunning(context, wanted.meta, wanted.signal)
}

function noteRepair({ log }: LoopContext, { meta, onProgress }: BringUp, error: Error & { kind: string }): void {
  log.warn({ loop: meta.id, kind: error.kind, err: error }, 'a start failed and is repaired with a new container')
  onProgress({ message: 'The start failed; making the container anew' })
}
