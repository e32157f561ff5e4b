import { describe, expect, it } from 'vitest'
import { applyWishes, changesOf, shapeOf, withShape } from '../../../daemon/loop/loop-change.ts'
import type { Meta } from '../../../daemon/loop/loop-meta.ts'

const plain: Meta = {
  version: 1,
  id: '11111111-2222-4333-8444-555555555555',
  name: 'one',
  title: 'One',
  createdAt: '2026-01-01T00:00:00.000Z',
  user: 'ada',
}
const data = { source: '/srv/data', target: '/data', readOnly: true }

describe('changing what a loop is made from', () => {
  it.each([
    [{ image: 'localhost/other:1' }, { image: 'localhost/other:1' }],
    [{ vault: 'work' }, { vault: 'work' }],
    [{ mounts: [data] }, { mounts: [data] }],
    [{ dns: ['10.0.0.1'] }, { dns: ['10.0.0.1'] }],
    [{ limits: { pids: 64 } }, { limits: { pids: 64 } }],
    [{ persistence: 'ephemeral' as const }, { persistence: 'ephemeral' }],
    [{ knowledgeRw: true }, { knowledgeRw: true }],
    [{ env: { A: '1' } }, { env: { A: '1' } }],
  ])('should note %j', (wishes, expected) => {
    expect(applyWishes(plain, wishes)).toEqual({ ...plain, ...expected })
  })

  it('should leave out what is the default, so that a change and its opposite are none', () => {
    const changed = applyWishes(plain, {
      image: 'localhost/other:1',
      vault: 'work',
      mounts: [data],
      dns: ['10.0.0.1'],
      limits: { pids: 64, cpus: 1 },
      persistence: 'ephemeral',
      knowledgeRw: true,
      env: { A: '1' },
    })
    const back = applyWishes(changed, {
      image: null,
      vault: 'default',
      removeMounts: ['/data'],
      dns: [],
      limits: { pids: null, cpus: null },
      persistence: 'persistent',
      knowledgeRw: false,
      env: { A: null },
    })
    expect(back).toEqual(plain)
    expect(withShape(changed, shapeOf(plain))).toEqual({ ...plain, env: { A: '1' } })
  })

  it('should keep what is not named, and keys that it does not know', () => {
    const before = { ...plain, vault: 'work', limits: { pids: 64 }, mounts: [data], later: 'kept' }
    const after = applyWishes(before, { limits: { cpus: 2 }, mounts: [{ ...data, target: '/more' }] })
    expect(after).toEqual({
      ...before,
      limits: { pids: 64, cpus: 2 },
      mounts: [data, { ...data, target: '/more' }],
    })
  })

  it('should put a mount in place of one of the same target', () => {
    const after = applyWishes({ ...plain, mounts: [data] }, { mounts: [{ ...data, readOnly: false }] })
    expect(after.mounts).toEqual([{ ...data, readOnly: false }])
  })

  it('should say what differs, in which words, and when it counts', () => {
    const after = applyWishes(plain, {
      vault: 'work',
      mounts: [data],
      limits: { memoryBytes: 1_073_741_824 },
      persistence: 'ephemeral',
      env: { TOKEN: 'secret' },
    })
    expect(changesOf(plain, after, true)).toEqual([
      { what: 'vault', from: 'default', to: 'work', effect: 'recreate' },
      { what: 'persistence', from: 'persistent', to: 'ephemeral', effect: 'next-start' },
      { what: 'mount /data', from: null, to: '/srv/data (ro)', effect: 'recreate' },
      { what: 'memory', from: null, to: '1073741824 bytes', effect: 'recreate' },
      { what: 'env TOKEN', from: null, to: 'set', effect: 'live' },
    ])
    expect(new Set(changesOf(plain, after, false).map(({ effect }) => effect))).toEqual(new Set(['next-start', 'live']))
    expect(changesOf(after, after, true)).toEqual([])
    expect(JSON.stringify(changesOf(plain, after, true))).not.toContain('secret')
  })
})
