import { describe, expect, it } from 'vitest'
import type { ContainerDetails, ContainerStatus } from '../../../daemon/engine/engine.ts'
import { isOurs, planStart } from '../../../daemon/loop/loop-plan.ts'

const container = (status: ContainerStatus, hash = 'h', image = 'i'): ContainerDetails => ({
  id: 'c',
  name: 'c',
  labels: { 'loopat.config-hash': hash, 'loopat.base-image-id': image },
  status,
  imageId: 'made by a network switch',
  startedAt: undefined,
  finishedAt: undefined,
  exitCode: undefined,
  pid: 0,
  address: undefined,
})

const plan = (found: ContainerDetails | undefined, imageId: string | undefined = 'i', acceptDrift = false) =>
  planStart({ container: found, hash: 'h', imageId, acceptDrift })

const spec = { kind: 'recreate', reason: 'its specification changed' }
const image = { kind: 'recreate', reason: 'its image changed' }

describe('the plan of a start', () => {
  it.each([
    ['is missing', undefined, { kind: 'create' }],
    ['runs as wanted', container('running'), { kind: 'none' }],
    ['is stopped as wanted', container('exited'), { kind: 'start' }],
    ['was never started', container('created'), { kind: 'start' }],
    ['runs with another specification', container('running', 'x'), spec],
    ['runs with another image', container('running', 'h', 'x'), image],
    ['is stopped with another specification', container('exited', 'x'), spec],
    ['is stopped with another image', container('exited', 'h', 'x'), image],
    ['differs in both', container('exited', 'x', 'x'), spec],
    ['hangs', container('stopping'), { kind: 'recreate', reason: 'its container hung in the state "stopping"' }],
    ['is paused', container('other'), { kind: 'recreate', reason: 'its container hung in the state "other"' }],
  ] as const)('should fit a container that %s', (_what, found, expected) => {
    expect(plan(found)).toEqual(expected)
  })

  it('should not compare an image that nobody knows', () => {
    expect(
      planStart({ container: container('running', 'h', 'x'), hash: 'h', imageId: undefined, acceptDrift: false }),
    ).toEqual({ kind: 'none' })
  })

  it('should take a container as it is when that is wanted', () => {
    expect(plan(container('running', 'x', 'x'), 'i', true)).toEqual({ kind: 'none' })
    expect(plan(container('exited', 'x', 'x'), 'i', true)).toEqual({ kind: 'start' })
    expect(plan(undefined, 'i', true)).toEqual({ kind: 'create' })
  })

  it('should know our containers by their labels', () => {
    const labels = { 'loopat.loop-id': 'a', 'loopat.workspace': 'ws' }
    expect(isOurs({ labels }, 'ws', 'a')).toBe(true)
    expect(isOurs({ labels }, 'ws', 'b')).toBe(false)
    expect(isOurs({ labels }, 'ws-2', 'a')).toBe(false)
    expect(isOurs({ labels: {} }, 'ws', 'a')).toBe(false)
  })
})
