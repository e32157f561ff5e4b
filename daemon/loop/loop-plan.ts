import type { ContainerDetails } from '../engine/engine.ts'
import { LABEL } from './loop-spec.ts'

/** How to bring a loop up (rule C-13). */
export type StartPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'start' }
  | { readonly kind: 'create' }
  | { readonly kind: 'recreate'; readonly reason: string }

/** What a plan is made from. */
export interface PlanInput {
  readonly container: ContainerDetails | undefined
  /** Hash of the wanted spec. */
  readonly hash: string
  /** Id of the wanted image; undefined while it is not known, then the image is not compared. */
  readonly imageId: string | undefined
  /** Take a container as it is, although it may differ from what is wanted. */
  readonly acceptDrift: boolean
}

/** Decides how to bring a loop up. Pure. */
export function planStart({ container, hash, imageId, acceptDrift }: PlanInput): StartPlan {
  if (container === undefined) return { kind: 'create' }
  const drift = acceptDrift ? undefined : driftOf(container, hash, imageId)
  switch (container.status) {
    case 'running':
      return drift === undefined ? { kind: 'none' } : { kind: 'recreate', reason: drift }
    case 'created':
    case 'exited':
      return drift === undefined ? { kind: 'start' } : { kind: 'recreate', reason: drift }
    case 'stopping':
    case 'other':
      return { kind: 'recreate', reason: `its container hung in the state "${container.status}"` }
  }
}

/** Says why a container is not the wanted one; undefined when it is. */
function driftOf({ labels }: ContainerDetails, hash: string, imageId: string | undefined): string | undefined {
  if (labels[LABEL.hash] !== hash) return 'its specification changed'
  // The container's own image id is no measure: a network switch makes that a temporary one.
  if (imageId !== undefined && labels[LABEL.baseImage] !== imageId) return 'its image changed'
  return undefined
}

/** Reports whether a container is the one of this loop, and not one that only bears its name (D10). */
export function isOurs({ labels }: { labels: ContainerDetails['labels'] }, workspace: string, id: string): boolean {
  return labels[LABEL.loop] === id && labels[LABEL.workspace] === workspace
}
