import { LoopatError, LoopName } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { branchOf, resolveRef, slugOf, uniqueName } from '../../../daemon/loop/loop-name.ts'

describe('slugs', () => {
  it.each([
    ['Fix the Login!', 'fix-the-login'],
    ['  --a--b--  ', 'a-b'],
    ['', 'loop'],
    ['日本語', 'loop'],
    ['Ünïcode', 'n-code'],
    ['---', 'loop'],
    ['a'.repeat(50), 'a'.repeat(32)],
    // The cut must not leave a dash at the end.
    [`${'a'.repeat(31)} b`, 'a'.repeat(31)],
    [`${'ab '.repeat(20)}`, 'ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab'],
    ['2030', '2030'],
  ])('should make of %j the name %j', (title, slug) => {
    expect(slugOf(title)).toBe(slug)
    expect(LoopName.safeParse(slug).success).toBe(true)
  })

  it('should make the branch of a loop from its title and id', () => {
    expect(branchOf('Fix the Login!', '0b8f3c4e-1111-4222-8333-444455556666')).toBe('loop/fix-the-login-0b8f3c')
  })
})

describe('unique names', () => {
  it('should count from two', () => {
    expect(uniqueName('a', new Set())).toBe('a')
    expect(uniqueName('a', new Set(['a']))).toBe('a-2')
    expect(uniqueName('a', new Set(['a', 'a-2', 'a-3']))).toBe('a-4')
  })

  it('should stay within the length of a name, and be one', () => {
    const long = `${'a'.repeat(29)}-bb`
    const taken = new Set([long])
    for (let count = 0; count < 20; count += 1) {
      const name = uniqueName(long, taken)
      expect(LoopName.safeParse(name).success).toBe(true)
      expect(name).not.toContain('--')
      taken.add(name)
    }
    expect(taken.size).toBe(21)
  })
})

describe('loop references', () => {
  const loops = [
    { id: '0b8f3c4e-1111-4222-8333-444455556666', name: 'demo' },
    { id: '0b8f9999-1111-4222-8333-444455556666', name: 'other' },
    { id: 'cafe0000-1111-4222-8333-444455556666', name: '0b8f' },
    { id: 'abcd0000-1111-4222-8333-444455556666' },
    { id: 'lost+found' },
  ]
  const find = (ref: string) => {
    try {
      return resolveRef(ref, loops).id
    } catch (error) {
      if (error instanceof LoopatError) return error.code
      throw error
    }
  }

  it.each([
    ['0b8f3c4e-1111-4222-8333-444455556666', '0b8f3c4e-1111-4222-8333-444455556666'],
    ['demo', '0b8f3c4e-1111-4222-8333-444455556666'],
    ['0b8f3', '0b8f3c4e-1111-4222-8333-444455556666'],
    ['abcd', 'abcd0000-1111-4222-8333-444455556666'],
    ['lost+found', 'lost+found'],
    // A name goes before a prefix.
    ['0b8f', 'cafe0000-1111-4222-8333-444455556666'],
    ['0b8', 'loop_not_found'],
    ['dem', 'loop_not_found'],
    ['DEMO', 'loop_not_found'],
    ['', 'loop_not_found'],
    ['ffff', 'loop_not_found'],
  ])('should resolve %j to %s', (ref, expected) => {
    expect(find(ref)).toBe(expected)
  })

  it('should list the candidates of an ambiguous prefix', () => {
    const two = loops.slice(0, 2)
    expect(() => resolveRef('0b8f', two)).toThrow(/2 loops: 0b8f3c4e\S+ \(demo\), 0b8f9999\S+ \(other\)/)
    expect(() => resolveRef('0b8f', two)).toThrow(
      expect.objectContaining({
        code: 'ambiguous_loop',
        details: { loop: '0b8f', candidates: two.map(({ id, name }) => ({ id, name })) },
      }),
    )
  })

  it('should not pick one of two loops that have the same name', () => {
    const twins = loops.slice(0, 2).map(({ id }) => ({ id, name: 'twin' }))
    expect(() => resolveRef('twin', twins)).toThrow(expect.objectContaining({ code: 'ambiguous_loop' }))
  })

  it('should list no more than ten candidates', () => {
    const many = Array.from({ length: 12 }, (_, index) => ({ id: `abcd${index}`, name: `n${index}` }))
    expect(() => resolveRef('abcd', many)).toThrow(/and 2 more/)
  })
})
