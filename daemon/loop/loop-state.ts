import { LoopatError } from '@loopatd/protocol'
import type { ContainerDetails } from '../engine/engine.ts'
import type { StoredLoop } from './loop-store.ts'

/** What a loop is doing, with the facts that only that state has. */
export type LoopPhase =
  | { readonly kind: 'created'; readonly failure: string | undefined }
  | { readonly kind: 'starting' }
  | { readonly kind: 'running'; readonly startedAt: string | undefined; readonly address: string | undefined }
  | { readonly kind: 'stopping' }
  | { readonly kind: 'stopped'; readonly failure: string | undefined }
  | { readonly kind: 'archived'; readonly archivedAt: string }
  | { readonly kind: 'broken'; readonly reason: string }

/** Name of a {@link LoopPhase}. */
export type LoopPhaseKind = LoopPhase['kind']

/** An operation under way; it hides what the engine reports meanwhile. */
export type LoopActivity = 'starting' | 'stopping'

/** What a phase is made from. */
export interface LoopFacts {
  readonly stored: StoredLoop
  readonly activity: LoopActivity | undefined
  readonly container: ContainerDetails | undefined
  /** Why the last start failed, or how the container ended by itself. */
  readonly failure: string | undefined
}

/**
 * Legal transitions. Some are only ever seen, not made: somebody used podman by hand, the container died, or metadata
 * became unreadable or was mended. What must never happen is that an archived or broken loop is started; that two
 * operations meet is kept off by the board.
 */
const LEGAL: Readonly<Record<LoopPhaseKind, readonly LoopPhaseKind[]>> = {
  created: ['archived', 'broken', 'running', 'starting', 'stopped', 'stopping'],
  starting: ['archived', 'broken', 'created', 'running', 'stopped', 'stopping'],
  running: ['archived', 'broken', 'created', 'starting', 'stopped', 'stopping'],
  stopping: ['archived', 'broken', 'created', 'running', 'starting', 'stopped'],
  stopped: ['archived', 'broken', 'created', 'running', 'starting', 'stopping'],
  archived: ['broken', 'created', 'running', 'stopped', 'stopping'],
  broken: ['archived', 'created', 'running', 'stopped', 'stopping'],
}

/**
 * Checks a change of phase.
 * @throws `internal` when it is not legal
 */
export function checkTransition(from: LoopPhaseKind, to: LoopPhaseKind): void {
  if (from === to || LEGAL[from].includes(to)) return
  throw new LoopatError('internal', `a loop that is ${from} cannot become ${to}`)
}

/** Tells what a loop is doing. Broken hides everything, archived hides the container, an operation hides its result. */
export function phaseOf({ stored, activity, container, failure }: LoopFacts): LoopPhase {
  if (stored.kind === 'broken') return { kind: 'broken', reason: stored.reason }
  const { archivedAt, firstStartedAt } = stored.meta
  if (archivedAt !== undefined) return { kind: 'archived', archivedAt }
  if (activity !== undefined) return { kind: activity }
  switch (container?.status) {
    case 'running':
      return { kind: 'running', startedAt: container.startedAt, address: container.address }
    case 'stopping':
      return { kind: 'stopping' }
    default: {
      const everStarted = firstStartedAt !== undefined || container?.startedAt !== undefined
      return { kind: everStarted ? 'stopped' : 'created', failure }
    }
  }
}
