import { describe, expect, it } from 'vitest'
import { describeDrift } from '../../../daemon/loop/loop-drift.ts'
import type { PlannedMount } from '../../../daemon/loop/loop-mount.ts'
import { draftSpec, type SpecDraft, type SpecInput, specText } from '../../../daemon/loop/loop-spec.ts'

const mount = (target: string, more: Partial<PlannedMount> = {}): PlannedMount => ({
  row: 12,
  source: '/s',
  target,
  readOnly: true,
  origin: 'loop',
  kind: 'directory',
  ...more,
})

const draft = (more: Partial<SpecInput> = {}): SpecDraft =>
  draftSpec({ id: '0b8f3c4e-1111-4222-8333-444455556666', workspace: 'ws', mounts: [mount('/data')], ...more })

const drift = (more: Partial<SpecInput>) => describeDrift(specText(draft()), specText(draft(more)))

describe('what changed in a specification', () => {
  it.each<[string, Partial<SpecInput>]>([
    ['the mount /more was added', { mounts: [mount('/data'), mount('/more')] }],
    ['the mount /data was removed', { mounts: [] }],
    ['the mount /data is writable now', { mounts: [mount('/data', { readOnly: false })] }],
    ['the mount /data shows another place', { mounts: [mount('/data', { source: '/t' })] }],
    ['the vault changed from default to work', { choices: { vault: 'work' } }],
    ['the user changed from the usual to bob', { choices: { user: 'bob' } }],
    ['the knowledge is writable now', { choices: { knowledgeRw: true } }],
    ['the other loops are mounted now', { choices: { mountAllLoops: true } }],
    ['the name servers changed from the usual to 192.0.2.1 ::1', { dns: ['192.0.2.1', '::1'] }],
    ['the limit of memory changed from none to 64', { limits: { memoryBytes: 64 } }],
    [
      'the vault changed from default to work, the limit of processes changed from none to 20',
      {
        choices: { vault: 'work' },
        limits: { pids: 20 },
      },
    ],
  ])('should be told as: %s', (words, more) => {
    expect(drift(more)).toBe(words)
  })

  it('should be told the other way round, too', () => {
    const rich = draft({ choices: { vault: 'work', knowledgeRw: true }, dns: ['::1'], limits: { cpus: 2 } })
    expect(describeDrift(specText(rich), specText(draft()))).toBe(
      'the vault changed from work to default, the knowledge is read-only now, ' +
        'the name servers changed from ::1 to the usual, the limit of processors changed from 2 to none',
    )
  })

  it('should name what only another version of the daemon changes', () => {
    const other = { ...draft(), hostname: 'x', stopTimeoutSeconds: 9 }
    expect(describeDrift(specText(other), specText(draft()))).toBe(
      'what loopatd makes of it changed (hostname, stopTimeoutSeconds)',
    )
  })

  it.each([undefined, '', 'null', '{', '[]', '{"mounts":1}', '{"mounts":[{}]}'])(
    'should not be guessed from %j',
    (before) => {
      expect(describeDrift(before, specText(draft()))).toBe('its specification changed')
    },
  )
})
