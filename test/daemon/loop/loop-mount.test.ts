import { describe, expect, it } from 'vitest'
import {
  holderOf,
  type MountFacts,
  type MountOrigin,
  planMounts,
  type WantedMount,
} from '../../../daemon/loop/loop-mount.ts'

const ID = '0b8f3c4e-1111-4222-8333-444455556666'
const OTHER = '11111111-1111-4222-8333-444455556666'
const HOME = '/home/loopat'

const none: MountFacts = {
  id: ID,
  paths: {
    directory: '/h/loops/x',
    workdir: '/h/loops/x/workdir',
    home: '/h/loops/x/home-upper',
    run: '/h/loops/x/run',
  },
  control: '/r/control/x',
  mirrors: [],
  present: new Set(),
  knowledgeRw: false,
  others: [],
  operator: [],
  loop: [],
  vault: [],
}

const wanted = (target: string, source = '/data', more: Partial<WantedMount> = {}): WantedMount => ({
  source,
  target,
  readOnly: true,
  found: { kind: 'directory', path: source },
  ...more,
})

/** Source, target and mode of the mounts of one row. */
const row = (number: number, facts: Partial<MountFacts> = {}) =>
  planMounts({ ...none, ...facts })
    .mounts.filter((mount) => mount.row === number)
    .map(({ source, target, readOnly }) => [source, target, readOnly ? 'ro' : 'rw'])

describe('the table of mounts', () => {
  it.each<[number, Partial<MountFacts>, string[][]]>([
    [1, {}, [['/h/loops/x/home-upper', HOME, 'rw']]],
    [2, {}, [['/h/loops/x/workdir', `/loopat/loop/${ID}/workdir`, 'rw']]],
    [3, {}, [['/h/loops/x/run', '/loopat/run', 'rw']]],
    [4, {}, [['/r/control/x', '/loopat/control', 'ro']]],
    [5, {}, []],
    [5, { mirrors: [{ name: 'demo', path: '/m/demo.git' }] }, [['/m/demo.git', '/loopat/mirrors/demo.git', 'ro']]],
    [6, {}, []],
    [6, { present: new Set(['.claude']) }, [['/h/loops/x/.claude', `/loopat/loop/${ID}/.claude`, 'rw']]],
    [7, {}, []],
    [7, { knowledgeRw: true }, []],
    [
      7,
      { present: new Set(['context/knowledge']) },
      [['/h/loops/x/context/knowledge', '/loopat/context/knowledge', 'ro']],
    ],
    [
      7,
      { present: new Set(['context/knowledge']), knowledgeRw: true },
      [['/h/loops/x/context/knowledge', '/loopat/context/knowledge', 'rw']],
    ],
    [8, {}, []],
    [8, { present: new Set(['context/notes']) }, [['/h/loops/x/context/notes', '/loopat/context/notes', 'rw']]],
    [9, {}, []],
    [
      9,
      { present: new Set(['context/personal']) },
      [['/h/loops/x/context/personal', '/loopat/context/personal', 'rw']],
    ],
    [10, {}, []],
    [10, { present: new Set(['context/chat']) }, [['/h/loops/x/context/chat', '/loopat/context/chat', 'ro']]],
    [11, {}, []],
    [11, { others: [{ id: OTHER, workdir: '/h/y' }] }, [['/h/y', `/loopat/loops/${OTHER}/workdir`, 'ro']]],
    [12, {}, []],
    [12, { operator: [wanted('/data')] }, [['/data', '/data', 'ro']]],
    [12, { operator: [wanted('/data', '/data', { readOnly: false })] }, [['/data', '/data', 'rw']]],
    [
      12,
      { operator: [wanted('/a')], loop: [wanted('/b')] },
      [
        ['/data', '/a', 'ro'],
        ['/data', '/b', 'ro'],
      ],
    ],
    [12, { loop: [wanted('/b', '/x', { found: { kind: 'refused', why: 'it is not there' } })] }, []],
    [13, {}, []],
    [13, { vault: [{ name: '.ssh', source: '/v/.ssh', kind: 'directory' }] }, [['/v/.ssh', `${HOME}/.ssh`, 'rw']]],
    [13, { vault: [{ name: '.netrc', source: '/v/.netrc', kind: 'file' }] }, [['/v/.netrc', `${HOME}/.netrc`, 'rw']]],
  ])('should have row %i as its condition says, case %#', (number, facts, expected) => {
    expect(row(number, facts)).toEqual(expected)
  })

  it('should mount the four rows that every loop has, and nothing else, into a plain loop', () => {
    const { mounts, skipped } = planMounts(none)
    expect(mounts.map((mount) => mount.row).sort()).toEqual([1, 2, 3, 4])
    expect(skipped).toEqual([])
    expect(mounts.every(({ origin, kind }) => origin === 'built-in' && kind === 'directory')).toBe(true)
  })

  it.each<[string, Partial<MountFacts>, MountOrigin, MountOrigin[]]>([
    ['the operator over what is built in', { operator: [wanted(HOME)] }, 'operator', ['built-in']],
    ['a loop over the operator', { operator: [wanted(HOME)], loop: [wanted(HOME)] }, 'loop', ['operator', 'built-in']],
    [
      'the vault over all',
      {
        operator: [wanted(`${HOME}/.ssh`)],
        loop: [wanted(`${HOME}/.ssh`)],
        vault: [{ name: '.ssh', source: '/v', kind: 'directory' }],
      },
      'vault',
      ['loop', 'operator'],
    ],
    [
      'the first of two of the operator',
      { operator: [wanted('/a', '/1'), wanted('/a', '/2')] },
      'operator',
      ['operator'],
    ],
  ])('should give a target to %s', (_what, facts, winner, losers) => {
    const { mounts, skipped } = planMounts({ ...none, ...facts })
    const target = skipped[0]?.target
    expect(mounts.filter((mount) => mount.target === target).map(({ origin }) => origin)).toEqual([winner])
    expect(skipped.map(({ origin }) => origin)).toEqual(losers)
    expect(skipped[0]?.why).toContain('is taken by')
  })

  it('should put what lies in another mount behind it', () => {
    const { mounts } = planMounts({
      ...none,
      operator: [wanted('/a/b/c'), wanted('/a'), wanted('/a/b')],
      vault: [{ name: '.ssh', source: '/v', kind: 'directory' }],
    })
    const targets = mounts.map(({ target }) => target)
    expect(targets.filter((target) => target.startsWith('/a'))).toEqual(['/a', '/a/b', '/a/b/c'])
    expect(targets.indexOf(`${HOME}/.ssh`)).toBeGreaterThan(targets.indexOf(HOME))
    expect(new Set(targets).size).toBe(targets.length)
  })

  it('should say why a mount is left out, with what was asked for', () => {
    const refused = wanted('/b', '~/x', { found: { kind: 'refused', why: '~/x does not exist' } })
    expect(planMounts({ ...none, operator: [refused] }).skipped).toEqual([
      { source: '~/x', target: '/b', origin: 'operator', why: '~/x does not exist' },
    ])
  })

  it.each(['a:b', 'a,b', 'a\nb'])('should leave out an entry of a vault with the name %j', (name) => {
    const { mounts, skipped } = planMounts({ ...none, vault: [{ name, source: '/v/x', kind: 'file' }] })
    expect(mounts).toHaveLength(4)
    expect(skipped).toMatchObject([{ origin: 'vault', why: expect.stringContaining('colon') }])
  })

  it('should know the mount that a path lies in', () => {
    const { mounts } = planMounts({ ...none, operator: [wanted(`${HOME}/a`), wanted(`${HOME}/a/b`)] })
    expect(holderOf(`${HOME}/a/b`, mounts)?.target).toBe(`${HOME}/a`)
    expect(holderOf(`${HOME}/ab`, mounts)?.target).toBe(HOME)
    expect(holderOf('/data', mounts)).toBeUndefined()
  })
})
