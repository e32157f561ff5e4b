import { LoopatError, LoopState } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import type { ContainerDetails, ContainerStatus } from '../../../daemon/engine/engine.ts'
import type { Meta } from '../../../daemon/loop/loop-meta.ts'
import { checkTransition, type LoopActivity, type LoopPhaseKind, phaseOf } from '../../../daemon/loop/loop-state.ts'
import type { StoredLoop } from '../../../daemon/loop/loop-store.ts'

const ID = '0b8f3c4e-1111-4222-8333-444455556666'
const AT = '2030-01-02T03:04:05.000Z'
const base: Meta = { version: 1, id: ID, name: 'demo', title: 'Demo', createdAt: AT, user: 'ada' }
const readable = (more: Partial<Meta> = {}): StoredLoop => ({ kind: 'readable', id: ID, meta: { ...base, ...more } })
const fresh = readable()
const used = readable({ firstStartedAt: AT })
const archived = readable({ archivedAt: AT })
const broken: StoredLoop = { kind: 'broken', id: ID, reason: 'torn' }

const container = (status: ContainerStatus, startedAt?: string): ContainerDetails => ({
  id: 'c',
  name: 'c',
  labels: {},
  status,
  imageId: 'i',
  startedAt,
  finishedAt: undefined,
  exitCode: undefined,
  pid: 0,
  address: status === 'running' ? '10.0.0.1' : undefined,
})

const rows: [string, StoredLoop, ContainerDetails | undefined, LoopActivity | undefined, LoopPhaseKind][] = [
  ['a new loop', fresh, undefined, undefined, 'created'],
  ['a loop whose container was never started', fresh, container('created'), undefined, 'created'],
  ['a loop whose container is gone', used, undefined, undefined, 'stopped'],
  ['a stopped loop', used, container('exited', AT), undefined, 'stopped'],
  ['a stopped loop whose start was not noted', fresh, container('exited', AT), undefined, 'stopped'],
  ['a running loop', used, container('running', AT), undefined, 'running'],
  ['a loop that podman stops', used, container('stopping', AT), undefined, 'stopping'],
  ['a paused loop', used, container('other', AT), undefined, 'stopped'],
  ['a loop that is being started', fresh, undefined, 'starting', 'starting'],
  ['a loop that is being started and runs already', fresh, container('running'), 'starting', 'starting'],
  ['a loop that is being stopped', used, container('running'), 'stopping', 'stopping'],
  ['an archived loop', archived, undefined, undefined, 'archived'],
  ['an archived loop that somebody started', archived, container('running'), undefined, 'archived'],
  ['an archived loop that is looked into', archived, undefined, 'starting', 'archived'],
  ['a broken loop that runs', broken, container('running'), undefined, 'broken'],
]

describe('phases', () => {
  it.each(rows)('should tell %s', (_what, stored, details, activity, kind) => {
    expect(phaseOf({ stored, container: details, activity, failure: undefined }).kind).toBe(kind)
  })

  it('should carry the facts that only a phase has', () => {
    const common = { activity: undefined, failure: 'no luck' }
    expect(phaseOf({ ...common, stored: used, container: container('running', AT) })).toEqual({
      kind: 'running',
      startedAt: AT,
      address: '10.0.0.1',
    })
    expect(phaseOf({ ...common, stored: used, container: undefined })).toEqual({ kind: 'stopped', failure: 'no luck' })
    expect(phaseOf({ ...common, stored: archived, container: undefined })).toEqual({ kind: 'archived', archivedAt: AT })
    expect(phaseOf({ ...common, stored: broken, container: undefined })).toEqual({ kind: 'broken', reason: 'torn' })
  })
})

describe('transitions', () => {
  const kinds = LoopState.options
  const illegal: Partial<Record<LoopPhaseKind, LoopPhaseKind[]>> = { archived: ['starting'], broken: ['starting'] }

  it.each(kinds)('should let a loop that is %s become only what is legal', (from) => {
    for (const to of kinds) {
      if (illegal[from]?.includes(to) === true) {
        expect(() => checkTransition(from, to)).toThrow(LoopatError)
        expect(() => checkTransition(from, to)).toThrow(expect.objectContaining({ code: 'internal' }))
      } else {
        checkTransition(from, to)
      }
    }
  })

  it('should allow every change between what can be seen', () => {
    const seen = rows.filter(([, , , activity]) => activity === undefined).map(([, , , , kind]) => kind)
    for (const from of seen) for (const to of seen) checkTransition(from, to)
  })
})
