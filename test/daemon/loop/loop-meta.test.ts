import { describe, expect, it } from 'vitest'
import { formatMeta, parseMeta, vaultOf } from '../../../daemon/loop/loop-meta.ts'

const ID = '0b8f3c4e-1111-4222-8333-444455556666'
const valid = {
  version: 1,
  id: ID,
  name: 'demo',
  title: 'Demo',
  createdAt: '2030-01-02T03:04:05.000Z',
  user: 'ada',
}

const parse = (value: unknown) => parseMeta(JSON.stringify(value), ID)

describe('metadata', () => {
  it('should take what is written', () => {
    const full = {
      ...valid,
      repo: { source: 's', url: 'u', mirror: 'm', start: 'c', later: 1 },
      branch: 'loop/demo-0b8f3c',
      image: 'localhost/x:1',
      vault: 'work',
      mounts: [{ source: '/data', target: '/mnt/data', readOnly: true }],
      dns: ['192.0.2.1', '2001:db8::1'],
      limits: { memoryBytes: 67_108_864, cpus: 0.5, pids: 100 },
      persistence: 'ephemeral',
      knowledgeRw: true,
      mountAllLoops: true,
      recreated: { at: valid.createdAt, reason: 'its image changed' },
      update: { at: valid.createdAt, previous: { vault: 'home', later: 1 } },
      env: { A: '1' },
      firstStartedAt: valid.createdAt,
      archivedAt: valid.createdAt,
      metadata: { any: [1, null, { deep: true }] },
    }
    const parsed = parse(full)
    expect(parsed).toEqual({ meta: full })
    if ('meta' in parsed) expect(parseMeta(formatMeta(parsed.meta), ID)).toEqual(parsed)
  })

  it('should keep keys that it does not know', () => {
    const parsed = parse({ ...valid, profiles: ['work'], idle: { minutes: 5 } })
    expect(parsed).toMatchObject({ meta: { profiles: ['work'], idle: { minutes: 5 } } })
  })

  it.each([
    ['ada', 'ada'],
    ['Ada.Lovelace', 'ada-lovelace'],
    ['_svc', 'svc'],
    ['ada@example.com', 'ada-example-com'],
    ['a'.repeat(40), 'a'.repeat(32)],
  ])('should make a user id of the login name %s, which earlier versions stored', (user, id) => {
    expect(parse({ ...valid, user })).toMatchObject({ meta: { user: id } })
  })

  it('should take no vault for the vault `default`', () => {
    expect(vaultOf({})).toBe('default')
    expect(vaultOf({ vault: 'work' })).toBe('work')
  })

  it('should be written with two spaces and a final newline', () => {
    const parsed = parse(valid)
    expect('meta' in parsed && formatMeta(parsed.meta)).toBe(`${JSON.stringify(valid, undefined, 2)}\n`)
  })

  it.each([
    ['no JSON', '{', 'meta.json is not JSON'],
    ['an empty file', '', 'meta.json is not JSON'],
    ['an array', '[]', 'meta.json: '],
    ['null', 'null', 'meta.json: '],
    [
      'a newer version',
      JSON.stringify({ ...valid, version: 2 }),
      'meta.json has version 2, written by a newer loopatd',
    ],
    ['no version', JSON.stringify({ ...valid, version: undefined }), 'meta.json: version'],
    [
      'the id of another loop',
      JSON.stringify({ ...valid, id: ID.replace('0b', '1b') }),
      'meta.json names another loop',
    ],
    ['a name that is none', JSON.stringify({ ...valid, name: '../x' }), 'meta.json: name'],
    ['a title with an escape sequence', JSON.stringify({ ...valid, title: '\u001b[2J' }), 'meta.json: title'],
    ['a title that is too long', JSON.stringify({ ...valid, title: 'x'.repeat(201) }), 'meta.json: title'],
    ['a date that is none', JSON.stringify({ ...valid, createdAt: 'yesterday' }), 'meta.json: createdAt'],
    ['a repository without its mirror', JSON.stringify({ ...valid, repo: { source: 's' } }), 'meta.json: repo'],
    ['a user with dots', JSON.stringify({ ...valid, user: '../bob' }), 'meta.json: user'],
    ['a user that is a path', JSON.stringify({ ...valid, user: 'bob/x' }), 'meta.json: user'],
    ['a vault that is a path', JSON.stringify({ ...valid, vault: '../bob' }), 'meta.json: vault'],
    ['a mount that is none', JSON.stringify({ ...valid, mounts: [{ source: '/x' }] }), 'meta.json: mounts'],
    ['a name server that is a name', JSON.stringify({ ...valid, dns: ['dns.example'] }), 'meta.json: dns'],
    ['a limit below any use', JSON.stringify({ ...valid, limits: { memoryBytes: 1 } }), 'meta.json: limits'],
    ['an unknown limit', JSON.stringify({ ...valid, limits: { disk: 1 } }), 'meta.json: limits'],
    ['a persistence of its own', JSON.stringify({ ...valid, persistence: 'maybe' }), 'meta.json: persistence'],
    ['an environment value with a NUL', JSON.stringify({ ...valid, env: { A: '\0' } }), 'meta.json: env'],
    [
      'a journal of a change to nonsense',
      JSON.stringify({ ...valid, update: { at: valid.createdAt, previous: { vault: '../x' } } }),
      'meta.json: update.previous.vault',
    ],
    ['an environment name that is none', JSON.stringify({ ...valid, env: { 'A=B': '1' } }), 'meta.json: env'],
  ])('should refuse %s and say why', (_what, text, reason) => {
    const parsed = parseMeta(text, ID)
    expect('reason' in parsed && parsed.reason).toContain(reason)
  })
})
