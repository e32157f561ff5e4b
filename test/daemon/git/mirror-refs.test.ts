import { describe, expect, it } from 'vitest'
import { defaultRef, findStart, packedRefs, parseRefs, parseRemoteHead } from '../../../daemon/git/mirror-refs.ts'

const A = 'a'.repeat(40)
const B = 'b'.repeat(40)
const C = 'c'.repeat(40)

function refs(...names: [string, string][]): ReadonlyMap<string, string> {
  return new Map(names)
}

describe('refs of a mirror', () => {
  it('should leave out what is no ref', () => {
    const output = `${A} refs/heads/loop/x\n${B} refs/tags/v1\nnonsense\n${C} refs/heads/a b\n${C} refs/heads/\uFFFD\n${C} HEAD\n`
    expect([...parseRefs(output)]).toEqual([
      ['refs/heads/loop/x', A],
      ['refs/tags/v1', B],
    ])
  })

  it('should read HEAD and not what merely ends in it', () => {
    const output = `ref: refs/heads/trunk\tHEAD\n${A}\tHEAD\nref: refs/remotes/origin/main\trefs/remotes/origin/HEAD\n${B}\trefs/remotes/origin/HEAD\n`
    expect(parseRemoteHead(output)).toEqual({ oid: A, branch: 'trunk' })
    expect(parseRemoteHead('')).toEqual({ oid: undefined, branch: undefined })
    expect(parseRemoteHead('ref: refs/heads/../../x\tHEAD\n').branch).toBeUndefined()
  })

  it('should pack those of the origin only', () => {
    const packed = packedRefs(refs(['refs/heads/loop/x', A], ['refs/remotes/origin/main', B], ['refs/tags/v1', C]))
    expect(packed).toBe(`# pack-refs with: sorted \n${B} refs/remotes/origin/main\n${C} refs/tags/v1\n`)
  })
})

describe('the default branch', () => {
  const main = 'refs/remotes/origin/main'
  const trunk = 'refs/remotes/origin/trunk'
  const head = (oid?: string, branch?: string) => ({ oid, branch })

  it.each([
    ['what HEAD names', head(A, 'trunk'), refs([main, B], [trunk, A]), trunk],
    ['the branch at the commit of a HEAD that names none', head(A), refs([main, B], [trunk, A]), trunk],
    ['a customary name among several at that commit', head(A), refs(['refs/remotes/origin/a', A], [main, A]), main],
    ['a HEAD that is on no branch', head(C), refs([main, B], ['refs/loopat/head', C]), 'refs/loopat/head'],
    ['the only branch without a HEAD', head(), refs([trunk, A]), trunk],
    ['a customary name without a HEAD', head(), refs([main, A], [trunk, B]), main],
    ['nothing when only a person can tell', head(), refs(['refs/remotes/origin/x', A], [trunk, B]), undefined],
    ['nothing without branches', head(), refs(['refs/heads/loop/x', A]), undefined],
  ])('should be %s', (_what, remote, present, expected) => {
    expect(defaultRef(remote, present)).toBe(expected)
  })
})

describe('the start of a branch', () => {
  const present = refs(
    ['refs/heads/loop/kept', C],
    ['refs/remotes/origin/main', A],
    ['refs/remotes/origin/both', A],
    ['refs/tags/both', B],
    ['refs/tags/v1', B],
  )
  const main = 'refs/remotes/origin/main'

  it.each([
    ['the default branch', undefined, { kind: 'expression', expression: A }],
    ['HEAD', 'HEAD', { kind: 'expression', expression: A }],
    ['a branch', 'main', { kind: 'commit', oid: A }],
    ['a full branch', 'refs/heads/main', { kind: 'commit', oid: A }],
    ['a branch before a tag', 'both', { kind: 'commit', oid: A }],
    ['a full tag', 'refs/tags/both', { kind: 'expression', expression: B }],
    ['a tag', 'v1', { kind: 'expression', expression: B }],
    ['a kept branch', 'loop/kept', { kind: 'expression', expression: C }],
    ['a commit', 'ABCDEF0', { kind: 'expression', expression: 'abcdef0' }],
    ['nothing for a word', 'nope', { kind: 'unknown' }],
    ['nothing for too short an id', 'abc', { kind: 'unknown' }],
    ['nothing for a branch asked for as a tag', 'refs/tags/main', { kind: 'unknown' }],
  ])('should be %s', (_what, ref, expected) => {
    expect(findStart(ref, main, present)).toEqual(expected)
  })

  it('should be unborn in an empty repository, unless a ref is named', () => {
    expect(findStart(undefined, undefined, refs())).toEqual({ kind: 'unborn' })
    expect(findStart('main', undefined, refs())).toEqual({ kind: 'unknown' })
    expect(findStart(undefined, undefined, present)).toEqual({ kind: 'unknown' })
  })
})
