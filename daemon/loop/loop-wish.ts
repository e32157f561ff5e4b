import { type CheckedParamsOf, DEFAULT_VAULT, LoopatError } from '@loopatd/protocol'
import { checkLimits, hasLimits } from '../engine/limit.ts'
import type { LoopContext } from './loop-context.ts'
import { callEngine } from './loop-failure.ts'
import type { Meta } from './loop-meta.ts'
import { type AskedMount, resolveMount } from './mount-fact.ts'

/** What a creator may ask of the container. */
type Wishes = Pick<
  CheckedParamsOf<'loop/create'>,
  'vault' | 'mounts' | 'dns' | 'limits' | 'persistence' | 'knowledgeRw' | 'mountAllLoops'
>

/**
 * Checks what is asked of the container of a loop, before anything is made.
 * @returns the metadata for it; what is the default is left out
 * @throws `vault_not_found`, `vault_invalid`, `mount_refused`, `limit_unsupported`, and `engine_unavailable` when podman must be asked about limits
 */
export async function acceptWishes(context: LoopContext, wishes: Wishes, signal: AbortSignal): Promise<Partial<Meta>> {
  const { mounts = [], dns = [], limits = {}, persistence, knowledgeRw, mountAllLoops } = wishes
  const { vault = DEFAULT_VAULT } = wishes
  await context.vaults.require(context.user, vault, signal)
  const accepted = await acceptMounts(context, mounts)
  await acceptLimits(context, limits, signal)
  return {
    ...(vault === DEFAULT_VAULT ? {} : { vault }),
    ...(accepted.length === 0 ? {} : { mounts: accepted }),
    ...(dns.length === 0 ? {} : { dns }),
    ...(hasLimits(limits) ? { limits } : {}),
    ...(persistence === 'ephemeral' ? { persistence } : {}),
    ...(knowledgeRw === true ? { knowledgeRw } : {}),
    ...(mountAllLoops === true ? { mountAllLoops } : {}),
  }
}

/**
 * Checks mounts of one loop.
 * @returns them with absolute paths, as they go into its metadata
 * @throws `mount_refused`
 */
export async function acceptMounts({ mounts }: LoopContext, asked: readonly AskedMount[]): Promise<AskedMount[]> {
  const accepted: AskedMount[] = []
  for (const mount of asked) {
    const { source, target, readOnly, found } = await resolveMount(mount, mounts)
    if (found.kind === 'refused') throw refused(mount, found.why)
    if (accepted.some((other) => other.target === target)) throw refused(mount, `two mounts want ${target}`)
    accepted.push({ source, target, readOnly })
  }
  return accepted
}

/** @throws `limit_unsupported`, `engine_unavailable` and others of the engine */
export async function acceptLimits(
  { engine }: LoopContext,
  limits: NonNullable<Wishes['limits']>,
  signal: AbortSignal,
): Promise<void> {
  if (!hasLimits(limits)) return
  await callEngine({ doing: 'limit the loop', refusal: 'engine_failed' }, async () =>
    checkLimits(limits, (await engine.info(signal)).cgroupControllers),
  )
}

function refused({ source, target }: AskedMount, why: string): LoopatError {
  return new LoopatError('mount_refused', `cannot mount ${source} at ${target}: ${why}`, {
    next: 'Name another source or target; the README says what is refused, below "What a loop is made of".',
    details: { source, target },
  })
}
