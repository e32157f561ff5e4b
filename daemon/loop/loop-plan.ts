import type { LoopPersistence } from '@loopatd/protocol'
import type { ContainerDetails } from '../engine/engine.ts'
import { describeDrift } from './loop-drift.ts'
import { hashSpec, LABEL, type SpecDraft, specText } from './loop-spec.ts'

/** Why an ephemeral loop gets another container. Not a change, so it is noted nowhere. */
export const EPHEMERAL = 'it is ephemeral'

/** Why a loop gets another container when nothing differs. */
const FRESH = 'a fresh container was asked for'

/** How to bring a loop up (rule C-13). */
export type StartPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'start' }
  | { readonly kind: 'create' }
  | { readonly kind: 'recreate'; readonly reason: string }

/** What a plan is made from. */
export interface PlanInput {
  readonly container: ContainerDetails | undefined
  readonly draft: SpecDraft
  /** Id of the wanted image; undefined while it is not known, then the image is not compared. */
  readonly imageId: string | undefined
  /** Take a container as it is, although it may differ from what is wanted. */
  readonly acceptDrift: boolean
  /** Whether another container is wanted although nothing differs. */
  readonly fresh?: boolean
  /** Whether a stopped container is good for another start. */
  readonly persistence: LoopPersistence
}

/** Decides how to bring a loop up. Pure. */
export function planStart(input: PlanInput): StartPlan {
  const { container, acceptDrift, persistence, fresh = false } = input
  if (container === undefined) return { kind: 'create' }
  const drift = acceptDrift ? undefined : (driftOf(container, input) ?? (fresh ? FRESH : undefined))
  switch (container.status) {
    case 'running':
      return drift === undefined ? { kind: 'none' } : { kind: 'recreate', reason: drift }
    case 'created':
      return drift === undefined ? { kind: 'start' } : { kind: 'recreate', reason: drift }
    case 'exited': {
      const isSpent = persistence === 'ephemeral' && !acceptDrift
      const reason = drift ?? (isSpent ? EPHEMERAL : undefined)
      return reason === undefined ? { kind: 'start' } : { kind: 'recreate', reason }
    }
    case 'stopping':
    case 'other':
      return { kind: 'recreate', reason: `its container hung in the state "${container.status}"` }
  }
}

/** Says in words why a container is not the wanted one; undefined when it is. Pure. */
export function driftOf(
  { labels }: Pick<ContainerDetails, 'labels'>,
  { draft, imageId }: Pick<PlanInput, 'draft' | 'imageId'>,
): string | undefined {
  const spec = labels[LABEL.hash] === hashSpec(draft) ? [] : [describeDrift(labels[LABEL.spec], specText(draft))]
  // The container's own image id is no measure: a network switch makes that a temporary one.
  const isOtherImage = imageId !== undefined && labels[LABEL.baseImage] !== imageId
  const reasons = [...spec, ...(isOtherImage ? ['its image changed'] : [])]
  return reasons.length === 0 ? undefined : reasons.join(', ')
}

/** Reports whether a container is the one of this loop, and not one that only bears its name (D10). */
export function isOurs({ labels }: { labels: ContainerDetails['labels'] }, workspace: string, id: string): boolean {
  return labels[LABEL.loop] === id && labels[LABEL.workspace] === workspace
}
