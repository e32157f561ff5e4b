import { isLoopatError } from '@loopatd/protocol/error'
import { describe, expect, it } from 'vitest'
import { isMirrorName, mirrorName, parseRepoSource } from '../../../daemon/git/repo-source.ts'

const roster = [
  { name: 'web', git: 'git@example.org:team/web.git' },
  { name: 'bad', git: 'ext::sh -c true' },
]

function refusal(source: string): { message: string; next: string | undefined; code: string } {
  try {
    parseRepoSource(source, roster)
  } catch (error) {
    if (isLoopatError(error)) return error
    throw error
  }
  throw new Error(`${JSON.stringify(source)} was accepted`)
}

describe('sources', () => {
  it.each([
    ['https://example.org/team/web.git', 'https', 'https://example.org/team/web.git'],
    ['HTTPS://Example.ORG:8443/Team/web/', 'https', 'https://example.org:8443/Team/web'],
    ['https://[2001:DB8::1]/web', 'https', 'https://[2001:db8::1]/web'],
    ['ssh://git@Example.org:2222/~me/web.git', 'ssh', 'ssh://git@example.org:2222/~me/web.git'],
    ['ssh://example.org/web', 'ssh', 'ssh://example.org/web'],
    ['git@example.org:team/web.git', 'ssh', 'git@example.org:team/web.git'],
    ['org-123@example.org:/srv/web/', 'ssh', 'org-123@example.org:/srv/web'],
    ['/srv//git/a b/web.git/', 'file', '/srv/git/a b/web.git'],
    ['/srv/a:b', 'file', '/srv/a:b'],
    ['web', 'ssh', 'git@example.org:team/web.git'],
  ])('should take %s', (source, kind, url) => {
    expect(parseRepoSource(source, roster)).toMatchObject({ source, kind, url })
  })

  it.each([
    ['ext::sh -c "touch /tmp/canary"', "transport 'ext'"],
    ['EXT::sh', "transport 'ext'"],
    ['fd::17', "transport 'fd'"],
    ['git://example.org/web', "transport 'git'"],
    ['ftp://example.org/web', "transport 'ftp'"],
    ['http://example.org/web', 'unencrypted'],
    ['file:///srv/web', 'file:// URL'],
    ['-oProxyCommand=touch canary', 'begins with "-"'],
    ['--upload-pack=touch canary', 'begins with "-"'],
    ['ssh://-oProxyCommand=x/web', 'host and a path'],
    ['ssh://git@-oProxyCommand=x/web', 'host and a path'],
    ['git@-oProxyCommand:web', 'host and a path'],
    ['git@example.org:-web', 'an option'],
    ['git@example.org:web --upload-pack=x', 'white space'],
    ['https://example.org/--upload-pack=x', 'an option'],
    ['https://example.org/a/../b', '".."'],
    ['https://example.org/a/%2E%2e/b', '".."'],
    ['git@example.org:../b', '".."'],
    ['/srv/../etc', '".."'],
    ['/', 'root directory'],
    ['https://example.org', 'host and a path'],
    ['https://example.org/', 'names no repository'],
    ['https:///web', 'host and a path'],
    ['git@example.org:', 'names no repository'],
    ['example.org:team/web', 'neither'],
    ['../web', 'neither'],
    ['./web', 'neither'],
    ['~/web', 'neither'],
    ['a/b', 'neither'],
    ['/srv/we\nb', 'control characters'],
    ['https://example.org/we\u0000b', 'control characters'],
    ['https://example.org/we\u2028b', 'control characters'],
    ['https://example.org\\@evil.example/web', 'host and a path'],
    ['https://example.org/web?token=x', 'query'],
    ['https://example.org/web#x', 'query'],
    ['nowhere', 'no repository is named'],
    ['bad', "transport 'ext'"],
  ])('should refuse %s', (source, why) => {
    const { code, message, next } = refusal(source)
    expect(code).toBe('repo_invalid')
    expect(message).toContain(why)
    expect(next).toBeTruthy()
  })

  it.each([
    'https://ada:s3cret@example.org/web',
    'https://s3cret@example.org/web',
    'https://ada:s3@cret@example.org/web',
    'ssh://git:s3cret@example.org/web',
    'HTTPS://s3cret:x@example.org/web',
  ])('should refuse credentials in %s without repeating them', (source) => {
    const { message, next, code } = refusal(source)
    expect(code).toBe('repo_invalid')
    expect(message).toContain('holds credentials')
    expect(`${message}${next}`).not.toMatch(/s3|cret/)
  })

  it('should name what the roster knows', () => {
    expect(refusal('nowhere').next).toContain('web, bad')
  })

  it('should show hostile text as one plain line', () => {
    const { message } = refusal('\u001b[31m\nhttps://x')
    expect(message).not.toMatch(/\p{Cc}/u)
  })
})

describe('mirror names', () => {
  it.each([
    ['https://example.org/team/Web_App.git', 'web-app'],
    ['git@example.org:solo', 'solo'],
    ['git@example.org:.git', 'repo'],
    ['/srv/web/.git', 'web'],
    ['/srv/文档', 'repo'],
    [`/srv/${'x'.repeat(200)}`, 'x'.repeat(40)],
    ['/srv/a..b', 'a-b'],
  ])('should make the name for %s', (url, slug) => {
    const name = mirrorName(url)
    expect(name).toMatch(new RegExp(`^${slug}-[0-9a-f]{8}$`))
    expect(isMirrorName(name)).toBe(true)
  })

  it('should be distinct for addresses that end alike, and stable', () => {
    expect(mirrorName('/a/web')).not.toBe(mirrorName('/b/web'))
    expect(mirrorName('/a/web')).toBe(mirrorName('/a/web'))
  })

  it.each(['', '..', '../x-01234567', 'web', 'web-0123456', 'web-0123456g', 'a/b-01234567', '-a-01234567'])(
    'should not take %j for a name',
    (name) => {
      expect(isMirrorName(name)).toBe(false)
    },
  )
})
