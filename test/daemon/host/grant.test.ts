import { describe, expect, it } from 'vitest'
import { bytesOf } from '../../../daemon/host/argv-pattern.ts'
import { decide, GrantRecord, grantInfo, isExpired, patternOf, toGrant } from '../../../daemon/host/grant.ts'

const NOW = new Date('2030-01-01T00:00:00Z')

function grant(id: number, fields: Partial<GrantRecord>) {
  const record = { id: String(id).padStart(8, '0'), decision: 'allow', createdAt: NOW.toISOString(), ...fields }
  return toGrant(GrantRecord.parse(record), { origin: 'loop', loop: 'a' })
}

const decided = (grants: ReturnType<typeof grant>[], ...argv: (string | Buffer)[]) => {
  const found = decide(grants, argv.map(bytesOf), NOW)
  return found === undefined ? undefined : Number(found.record.id)
}

describe('decide', () => {
  it('should take the first that matches, and nothing without one', () => {
    const grants = [
      grant(1, { pattern: 'gh pr view *', decision: 'ask' }),
      grant(2, { pattern: 'gh pr *', decision: 'deny' }),
      grant(3, { pattern: 'gh *' }),
    ]
    expect(decided(grants, 'gh', 'pr', 'view', '1')).toBe(1)
    expect(decided(grants, 'gh', 'pr', 'close', '1')).toBe(2)
    expect(decided(grants, 'gh', 'api')).toBe(3)
    expect(decided(grants, 'glab', 'api')).toBeUndefined()
    expect(decided(grants)).toBeUndefined()
    expect(decided([], 'gh')).toBeUndefined()
  })

  it('should pass over what has expired, to the millisecond', () => {
    const at = (ms: number) => new Date(NOW.getTime() + ms).toISOString()
    const grants = [grant(1, { pattern: 'gh *', expiresAt: at(0) }), grant(2, { pattern: 'gh *', expiresAt: at(1) })]
    expect(decided(grants, 'gh')).toBe(2)
    expect(grants.map((one) => isExpired(one, NOW))).toEqual([true, false])
  })

  it('should compare names, whatever directory the pattern names', () => {
    const grants = [grant(1, { pattern: '/opt/x/gh *' })]
    expect(decided(grants, 'gh')).toBe(1)
    expect(decided(grants, '/opt/x/gh')).toBeUndefined()
    expect(decided(grants, 'x/gh')).toBeUndefined()
    expect(decided([grant(1, { pattern: 'gh *' })], 'GH')).toBeUndefined()
    expect(decided([grant(1, { pattern: 'gh *' })], 'gh\n')).toBeUndefined()
    expect(decided([grant(1, { pattern: 'gh *' })], '')).toBeUndefined()
  })

  it('should match words that are kept byte by byte, and only those', () => {
    const words = ['tool', 'a\nb', '*', Buffer.from([0xff, 0xfe])]
    const grants = [grant(1, { argv: words.map((word) => Buffer.from(word).toString('base64')) })]
    expect(decided(grants, ...words)).toBe(1)
    expect(decided(grants, 'tool', 'a\nb', 'x', Buffer.from([0xff, 0xfe]))).toBeUndefined()
    expect(decided(grants, 'tool', 'a\nb', '*', Buffer.from([0xff]))).toBeUndefined()
    expect(decided(grants, ...words, '')).toBeUndefined()
    expect(decided(grants, 'tool', 'a\nb', '*')).toBeUndefined()
  })
})

describe('a grant', () => {
  it('should be shown without the values of its environment', () => {
    const info = grantInfo(grant(1, { pattern: 'gh *', env: { B: 'secret', A: '1' }, passEnv: ['C', 'A'] }))
    expect(info).toMatchObject({ pattern: 'gh *', env: ['A', 'B', 'C'], program: null, expiresAt: null, fault: null })
    expect(JSON.stringify(info)).not.toContain('secret')
  })

  it('should say what stands for words that no pattern can hold', () => {
    expect(patternOf(grant(1, { argv: ['Z2g=', 'AA=='] }))).toBe('gh (exactly 1 arguments that no pattern can hold)')
  })

  it.each<[string, object]>([
    ['neither a pattern nor words', { pattern: undefined }],
    ['a pattern that is not closed', { pattern: "gh '" }],
  ])('should not be made of %s', (_what, fields) => {
    expect(() => grant(1, fields)).toThrow(expect.objectContaining({ code: 'invalid_params' }))
  })
})
