import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { checkRef, isRefName } from '../../../daemon/git/ref-name.ts'
import { GIT_TEST_ENV } from '../../harness/repo.ts'

const good = [
  'main',
  'feature/x',
  'v1.0',
  'a@b',
  'ü',
  '0123456789abcdef',
  'refs/heads/main',
  'a.b',
  'x-',
  "a'b",
  '$(id)',
]
const bad = [
  '',
  '@',
  '-x',
  '--orphan=zz',
  'a..b',
  'a@{1}',
  'a b',
  'a~1',
  'a^',
  'a:b',
  'a?',
  'a*',
  'a[b',
  'a\\b',
  '/a',
  'a/',
  'a//b',
  '.a',
  'a/.b',
  'a.lock',
  'a.lock/b',
  'a.',
  'a\nb',
  'a\u007fb',
  'x'.repeat(256),
]

describe('ref names', () => {
  it.each(good)('should take %j', (name) => {
    expect(isRefName(name)).toBe(true)
  })

  it.each(bad)('should refuse %j', (name) => {
    expect(isRefName(name)).toBe(false)
    expect(() => checkRef(name)).toThrow(expect.objectContaining({ code: 'repo_invalid' }))
  })

  it('should take nothing that git itself refuses', () => {
    for (const name of good) {
      const { status } = spawnSync('git', ['check-ref-format', `refs/heads/${name}`], { env: GIT_TEST_ENV })
      expect([name, status]).toEqual([name, 0])
    }
  })
})
