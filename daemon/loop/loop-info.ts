import type { LoopInfo } from '@loopatd/protocol'
import { type Meta, vaultOf } from './loop-meta.ts'
import type { LoopPhase } from './loop-state.ts'
import type { StoredLoop } from './loop-store.ts'

/** Shows a loop as the contract does. Pure. */
export function loopInfo(stored: StoredLoop, phase: LoopPhase): LoopInfo {
  return {
    id: stored.id,
    ...(stored.kind === 'broken' ? unknownFacts(stored.id) : metaFacts(stored.meta)),
    state: phase.kind,
    reason: reasonOf(phase),
    startedAt: (phase.kind === 'running' ? phase.startedAt : undefined) ?? null,
    address: (phase.kind === 'running' ? phase.address : undefined) ?? null,
  }
}

/** Why a loop is what it is, if there is anything to say. */
function reasonOf(phase: LoopPhase): string | null {
  switch (phase.kind) {
    case 'broken':
      return phase.reason
    case 'created':
    case 'stopped':
      return phase.failure ?? null
    default:
      return null
  }
}

type Facts = Omit<LoopInfo, 'id' | 'state' | 'reason' | 'startedAt' | 'address'>

function metaFacts(meta: Meta): Facts {
  const { name, title, createdAt, archivedAt, user, repo, branch, image } = meta
  return {
    name,
    title,
    createdAt,
    archivedAt: archivedAt ?? null,
    user,
    // Not as it is: other keys of the file must not reach the wire.
    repo: repo === undefined ? null : { source: repo.source, url: repo.url, mirror: repo.mirror, start: repo.start },
    branch: branch ?? null,
    image: image ?? null,
    vault: vaultOf(meta),
  }
}

function unknownFacts(id: string): Facts {
  return {
    name: id,
    title: '',
    createdAt: null,
    archivedAt: null,
    user: null,
    repo: null,
    branch: null,
    image: null,
    vault: null,
  }
}
