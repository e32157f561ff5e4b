import { describe, expect, it } from 'vitest'
import { LAUNCHER } from '../../../daemon/loop/launcher.ts'
import { OTHER_LOOPS_ROW, type PlannedMount } from '../../../daemon/loop/loop-mount.ts'
import {
  completeSpec,
  draftSpec,
  hashSpec,
  networkOf,
  type SpecDraft,
  type SpecInput,
  specText,
} from '../../../daemon/loop/loop-spec.ts'

const ID = '0b8f3c4e-1111-4222-8333-444455556666'
const mount = (target: string, source = '/s', row = 12): PlannedMount => ({
  row,
  source,
  target,
  readOnly: false,
  origin: 'loop',
  kind: 'directory',
})
const input: SpecInput = {
  id: ID,
  workspace: 'ws',
  mounts: [
    mount('/home/loopat', '/h/loops/x/home-upper'),
    mount(`/loopat/loop/${ID}/workdir`, '/h/loops/x/workdir'),
    mount('/loopat/run', '/h/loops/x/run'),
    { ...mount('/loopat/control', '/run/user/1/control/x'), readOnly: true },
    { ...mount('/loopat/mirrors/demo.git', '/h/mirrors/demo.git'), readOnly: true },
  ],
}
const draft = draftSpec(input)

describe('the container of a loop', () => {
  it('should ask its own name servers, not one of its network', () => {
    const own = completeSpec({ ...draft, dns: ['192.0.2.53'] }, { id: ID, workspace: 'ws' }, { tag: 'x', id: 'abc' })
    expect(own).toMatchObject({ dns: ['192.0.2.53'], network: { name: 'loopat-ws-0b8f3c4e-dns' } })
    const labels = { 'loopat.loop-id': ID, 'loopat.workspace': 'ws' }
    expect(networkOf({ id: ID, dns: own.dns }, 'ws')).toEqual({
      name: 'loopat-ws-0b8f3c4e-dns',
      labels,
      resolves: false,
    })
    expect(networkOf({ id: ID }, 'ws')).toEqual({ name: 'loopat-ws-0b8f3c4e', labels, resolves: true })
  })

  it('should be as the rules say', () => {
    const spec = completeSpec(draft, { id: ID, workspace: 'ws' }, { tag: 'localhost/x:1', id: 'abc' })
    expect(spec).toEqual({
      name: `loopat-ws-${ID}`,
      image: 'localhost/x:1',
      hostname: 'loop-0b8f3c4e',
      labels: {
        'loopat.loop-id': ID,
        'loopat.workspace': 'ws',
        'loopat.config-hash': hashSpec(draft),
        'loopat.base-image-id': 'abc',
        'loopat.spec': specText(draft),
      },
      command: LAUNCHER,
      workdir: `/loopat/loop/${ID}/workdir`,
      env: { HOME: '/home/loopat', LOOPAT_LOOP_ID: ID },
      mounts: [
        { source: '/h/loops/x/home-upper', target: '/home/loopat', readOnly: false },
        { source: '/h/loops/x/workdir', target: `/loopat/loop/${ID}/workdir`, readOnly: false },
        { source: '/h/loops/x/run', target: '/loopat/run', readOnly: false },
        { source: '/run/user/1/control/x', target: '/loopat/control', readOnly: true },
        { source: '/h/mirrors/demo.git', target: '/loopat/mirrors/demo.git', readOnly: true },
      ],
      keepId: { uid: 2000, gid: 2000 },
      account: { name: 'loopat', home: '/home/loopat' },
      init: true,
      network: { kind: 'named', name: 'loopat-ws-0b8f3c4e', aliases: ['loop-0b8f3c4e'] },
      dns: [],
      limits: {},
      stopTimeoutSeconds: 5,
    })
  })

  it('should be the same for the same input', () => {
    expect(draftSpec({ ...input })).toEqual(draft)
    expect(hashSpec(draftSpec({ ...input }))).toBe(hashSpec(draft))
  })
})

describe('the hash of a specification', () => {
  it('should have sixteen hex digits that never change by themselves', () => {
    // A change here makes every existing loop anew at its next start: is that meant?
    expect(hashSpec(draft)).toMatchInlineSnapshot(`"b5257c8a5f453311"`)
  })

  it.each<[string, Partial<SpecDraft>]>([
    ['name', { name: 'x' }],
    ['hostname', { hostname: 'x' }],
    ['command', { command: ['sleep', 'infinity'] }],
    ['workdir', { workdir: '/' }],
    ['mounts', { mounts: draft.mounts.slice(1) }],
    ['the mode of a mount', { mounts: draft.mounts.map((mount) => ({ ...mount, readOnly: true })) }],
    ['the source of a mount', { mounts: draft.mounts.map((mount) => ({ ...mount, source: '/x' })) }],
    ['mapping', { keepId: { uid: 1, gid: 1 } }],
    ['init', { init: false }],
    ['network', { network: { kind: 'none' } }],
    ['an alias', { network: { kind: 'named', name: 'loopat-ws-0b8f3c4e', aliases: [] } }],
    ['stop timeout', { stopTimeoutSeconds: 6 }],
    ['the user', { choices: { user: 'bob' } }],
    ['the vault', { choices: { vault: 'work' } }],
    ['knowledge that can be written', { choices: { knowledgeRw: true } }],
    ['the sight of all loops', { choices: { mountAllLoops: true } }],
    ['name servers', { dns: ['192.0.2.1'] }],
    ['limits', { limits: { memoryBytes: 67_108_864 } }],
    ['one more mount', { mounts: [...draft.mounts, mount('/data')] }],
  ])('should change with %s', (_what, change) => {
    expect(hashSpec({ ...draft, ...change })).not.toBe(hashSpec(draft))
  })

  it('should not change with the environment, nor with the order of mounts and keys', () => {
    expect(hashSpec({ ...draft, env: { SECRET: 'no' } })).toBe(hashSpec(draft))
    expect(hashSpec({ ...draft, mounts: [...draft.mounts].reverse() })).toBe(hashSpec(draft))
    const turned = Object.fromEntries(Object.entries(draft).reverse()) as unknown as SpecDraft
    expect(hashSpec(turned)).toBe(hashSpec(draft))
  })

  it('should be that of the version that knew no mounts of its own, vaults or limits', () => {
    // As that version computed them: for a loop without a repository, and for one with.
    const without = { ...draft, mounts: draft.mounts.slice(0, 4) }
    expect([hashSpec(without), hashSpec(draft)]).toEqual(['96d10e450df1bbb7', 'b5257c8a5f453311'])
    expect(hashSpec({ ...draft, choices: {}, dns: [], limits: {} })).toBe(hashSpec(draft))
  })

  it('should not change with the other loops, nor with whose mount it is', () => {
    const other = mount('/loopat/loops/x/workdir', '/h/loops/y/workdir', OTHER_LOOPS_ROW)
    expect(hashSpec({ ...draft, mounts: [...draft.mounts, other] })).toBe(hashSpec(draft))
    const mounts = draft.mounts.map((found) => ({ ...found, row: 1, origin: 'built-in' as const }))
    expect(hashSpec({ ...draft, mounts })).toBe(hashSpec(draft))
  })

  it('should be made from a text that can be read again, without the environment', () => {
    const text = specText({ ...draft, choices: { vault: 'work' }, env: { TOKEN: 'no' } })
    expect(JSON.parse(text)).toMatchObject({ name: `loopat-ws-${ID}`, vault: 'work' })
    expect(text).not.toContain('TOKEN')
  })

  it('should sort by bytes and not by the language of the host', () => {
    const targets = ['/Z', '/a', '/ä', '/😀', '/\uffee']
    const hashes = [targets, [...targets].reverse()].map((order) =>
      hashSpec({ ...draft, mounts: order.map((target) => mount(target)) }),
    )
    expect(new Set(hashes).size).toBe(1)
  })
})
