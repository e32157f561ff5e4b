import { describe, expect, it } from 'vitest'
import type { ContainerDetails, ContainerStatus } from '../../../daemon/engine/engine.ts'
import { isOurs, type PlanInput, planStart } from '../../../daemon/loop/loop-plan.ts'
import { draftSpec, hashSpec, specText } from '../../../daemon/loop/loop-spec.ts'

const draft = draftSpec({ id: '0b8f3c4e-1111-4222-8333-444455556666', workspace: 'ws', mounts: [] })

const container = (status: ContainerStatus, hash = hashSpec(draft), image = 'i'): ContainerDetails => ({
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

const plan = (found: ContainerDetails | undefined, more: Partial<PlanInput> = {}) =>
  planStart({ container: found, draft, imageId: 'i', acceptDrift: false, persistence: 'persistent', ...more })

const recreate = (reason: string) => ({ kind: 'recreate', reason })
const spec = 'its specification changed'
const image = 'its image changed'

describe('the plan of a start', () => {
  it.each([
    ['is missing', undefined, { kind: 'create' }],
    ['runs as wanted', container('running'), { kind: 'none' }],
    ['is stopped as wanted', container('exited'), { kind: 'start' }],
    ['was never started', container('created'), { kind: 'start' }],
    ['runs with another specification', container('running', 'x'), recreate(spec)],
    ['runs with another image', container('running', undefined, 'x'), recreate(image)],
    ['is stopped with another specification', container('exited', 'x'), recreate(spec)],
    ['is stopped with another image', container('exited', undefined, 'x'), recreate(image)],
    ['was never started and differs', container('created', 'x'), recreate(spec)],
    ['differs in both', container('exited', 'x', 'x'), recreate(`${spec}, ${image}`)],
    ['hangs', container('stopping'), recreate('its container hung in the state "stopping"')],
    ['is paused', container('other'), recreate('its container hung in the state "other"')],
  ] as const)('should fit a container that %s', (_what, found, expected) => {
    expect(plan(found)).toEqual(expected)
  })

  it('should say what changed when the container tells what it was made from', () => {
    const made = container('running', 'x')
    const before = draftSpec({ id: '0b8f3c4e-1111-4222-8333-444455556666', workspace: 'ws', mounts: [], dns: ['::1'] })
    const labels = { ...made.labels, 'loopat.spec': specText(before) }
    expect(plan({ ...made, labels })).toEqual(recreate('the name servers changed from ::1 to the usual'))
  })

  it('should not compare an image that nobody knows', () => {
    expect(plan(container('running', undefined, 'x'), { imageId: undefined })).toEqual({ kind: 'none' })
  })

  it('should take a container as it is when that is wanted', () => {
    const more = { acceptDrift: true, persistence: 'ephemeral' } as const
    expect(plan(container('running', 'x', 'x'), more)).toEqual({ kind: 'none' })
    expect(plan(container('exited', 'x', 'x'), more)).toEqual({ kind: 'start' })
    expect(plan(undefined, more)).toEqual({ kind: 'create' })
  })

  it('should make an ephemeral loop a fresh container after every stop', () => {
    const more = { persistence: 'ephemeral' } as const
    expect(plan(container('running'), more)).toEqual({ kind: 'none' })
    expect(plan(container('created'), more)).toEqual({ kind: 'start' })
    expect(plan(container('exited'), more)).toEqual(recreate('it is ephemeral'))
    expect(plan(container('exited', undefined, 'x'), more)).toEqual(recreate(image))
  })

  it('should know our containers by their labels', () => {
    const labels = { 'loopat.loop-id': 'a', 'loopat.workspace': 'ws' }
    expect(isOurs({ labels }, 'ws', 'a')).toBe(true)
    expect(isOurs({ labels }, 'ws', 'b')).toBe(false)
    expect(isOurs({ labels }, 'ws-2', 'a')).toBe(false)
    expect(isOurs({ labels: {} }, 'ws', 'a')).toBe(false)
  })
})
