import { DEFAULT_VAULT } from '@loopatd/protocol'
import type { LoopContext } from './loop-context.ts'
import { type Meta, vaultOf } from './loop-meta.ts'
import { planMounts, type SkippedMount } from './loop-mount.ts'
import { draftSpec, type SpecChoices, type SpecDraft } from './loop-spec.ts'
import { mountFacts } from './mount-fact.ts'

/** The container that a loop is to have. */
export interface Wanted {
  readonly draft: SpecDraft
  /** Mounts that were asked for and are left out. */
  readonly skipped: readonly SkippedMount[]
}

/**
 * Describes the container that a loop is to have now. Asks the engine nothing.
 * @throws `vault_not_found`, `vault_invalid`
 */
export async function wantedOf(context: LoopContext, meta: Meta, signal: AbortSignal): Promise<Wanted> {
  const { mounts, skipped } = planMounts(await mountFacts(context, meta, signal))
  const { id, dns = [], limits = {} } = meta
  const choices = choicesOf(context, meta)
  return { draft: draftSpec({ id, workspace: context.workspace, mounts, choices, dns, limits }), skipped }
}

/** Only what is not the default, which earlier versions did not know. */
function choicesOf({ user: owner }: LoopContext, meta: Meta): SpecChoices {
  const vault = vaultOf(meta)
  return {
    ...(meta.user === owner ? {} : { user: meta.user }),
    ...(vault === DEFAULT_VAULT ? {} : { vault }),
    ...(meta.knowledgeRw === true ? { knowledgeRw: true } : {}),
    ...(meta.mountAllLoops === true ? { mountAllLoops: true } : {}),
  }
}
