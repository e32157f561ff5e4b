import { isLoopatError, type ResultOf } from '@loopatd/protocol'
import { findLoop, type LoopContext, type ReadableLoop, readLoop } from './loop-context.ts'
import { type Meta, vaultOf } from './loop-meta.ts'
import { driftOf } from './loop-plan.ts'
import { hashSpec, LABEL, networkOf, specText } from './loop-spec.ts'
import { envOf } from './loop-use.ts'
import { wantedOf } from './loop-wanted.ts'

type Result = ResultOf<'loop/inspect'>

/** Shows what the container of a loop is made of; see `loop/inspect` of the contract. */
export async function inspectLoop(context: LoopContext, ref: string, signal: AbortSignal): Promise<Result> {
  const { id } = await findLoop(context, ref)
  const { meta } = await readLoop(context, id)
  // Brings what is known of the container up to date.
  await context.cache.trusted(signal)
  const { draft, skipped } = await wantedOf(context, meta, signal)
  const container = context.cache.peek(id)
  const imageId = context.images.known(meta.image)
  return {
    id,
    name: meta.name,
    image: { wanted: meta.image ?? null, id: imageId ?? null, used: container?.labels[LABEL.baseImage] ?? null },
    user: meta.user,
    vault: vaultOf(meta),
    mounts: draft.mounts.map(({ source, target, readOnly, origin, row }) => ({
      source,
      target,
      readOnly,
      origin,
      row,
    })),
    skipped: skipped.map(({ source, target, origin, why }) => ({ source, target, origin, why })),
    env: await envNames(context, meta, signal),
    dns: [...draft.dns],
    limits: meta.limits ?? {},
    persistence: meta.persistence ?? 'persistent',
    knowledgeRw: meta.knowledgeRw ?? false,
    mountAllLoops: meta.mountAllLoops ?? false,
    network: networkOf(meta, context.workspace).name,
    hash: {
      wanted: hashSpec(draft),
      used: container?.labels[LABEL.hash] ?? null,
      // What was written as JSON.
      inputs: JSON.parse(specText(draft)) as Result['hash']['inputs'],
    },
    drift: (container === undefined ? undefined : driftOf(container, { draft, imageId })) ?? null,
  }
}

/**
 * Why the next start of a loop makes its container anew, as far as that is known without asking podman; null when it
 * does not, or when nobody can tell because its vault is gone.
 */
export async function dueRecreation(
  context: LoopContext,
  { id, meta }: ReadableLoop,
  signal: AbortSignal,
): Promise<string | null> {
  const container = context.cache.peek(id)
  if (container === undefined || meta.archivedAt !== undefined) return null
  try {
    const { draft } = await wantedOf(context, meta, signal)
    return driftOf(container, { draft, imageId: context.images.known(meta.image) }) ?? null
  } catch (error) {
    if (!isLoopatError(error, 'vault_not_found') && !isLoopatError(error, 'vault_invalid')) throw error
    return null
  }
}

/** Names of variables, by what sets them; what comes later wins. */
async function envNames({ vaults }: LoopContext, meta: Meta, signal: AbortSignal): Promise<Result['env']> {
  const origins = new Map<string, Result['env'][number]['origin']>()
  const own = Object.keys(meta.env ?? {})
  for (const name of Object.keys(envOf(meta))) origins.set(name, 'built-in')
  for (const name of Object.keys(await vaults.env(meta.user, vaultOf(meta), signal))) origins.set(name, 'vault')
  for (const name of own) origins.set(name, 'loop')
  return [...origins].map(([name, origin]) => ({ name, origin })).sort((a, b) => (a.name < b.name ? -1 : 1))
}
