import { pathOf } from './docker.ts'
import { containerState } from './schema.ts'
import type { SilentCall } from './silence.ts'

/** States of a container that somebody is changing. Whatever else podman does to one, it does under a lock. */
const CHANGING = new Set(['stopping', 'removing'])

/**
 * Tells whether podman works on a container: it has a lock for each, without which it tells nobody the state.
 * @param container its name or id
 */
export function isAtWorkOn(container: string): NonNullable<SilentCall['isAtWork']> {
  return async (glance) => {
    const path = `/v4.0.0/libpod/containers${pathOf(container)}/json`
    const found = await glance({ method: 'GET', path, ok: [200] })
    if (found.kind === 'silent') return true
    const details = containerState.safeParse(found.answer)
    return details.success && CHANGING.has(details.data.State.Status)
  }
}
