import { describe, expect, it } from 'vitest'
import { pickSources } from '../../../daemon/image/apt-source.ts'

const deb822 = (text: string) => [{ path: '/etc/apt/sources.list.d/debian.sources', text }]
const list = (text: string) => [{ path: '/etc/apt/sources.list', text }]

const DEBIAN = `Types: deb
# a comment
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

describe('pickSources', () => {
  it('should take the sources of the release from deb822 files', () => {
    const signed = '[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    expect(pickSources(deb822(DEBIAN), 'bookworm')).toEqual([
      `deb ${signed} http://mirror.example/debian bookworm main contrib`,
      `deb ${signed} http://mirror.example/debian bookworm-updates main contrib`,
      `deb ${signed} http://mirror.example/debian-security bookworm-security main`,
    ])
  })

  it('should take the sources of the release from one-line files', () => {
    const text = [
      '# deb http://mirror.example/ubuntu noble main',
      'deb http://mirror.example/ubuntu noble main universe # note',
      'deb-src http://mirror.example/ubuntu noble main',
      'deb [arch=amd64 signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] https://mirror.example/ubuntu/ noble-updates main',
    ].join('\n')
    expect(pickSources(list(text), 'noble')).toEqual([
      'deb http://mirror.example/ubuntu noble main universe',
      'deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] https://mirror.example/ubuntu noble-updates main',
    ])
  })

  it.each([
    ['another release', 'deb http://mirror.example/debian trixie main'],
    ['a suite of a third party', 'deb http://third.example/apt bookworm-pgdg main'],
    ['components of a third party', 'deb http://third.example/linux bookworm stable'],
    [
      'the key of a third party',
      'deb [signed-by=/usr/share/keyrings/third-archive-keyring.gpg] http://t.example bookworm main',
    ],
    ['credentials', 'deb https://me:secret@mirror.example/debian bookworm main'],
    ['a local directory', 'deb file:/srv/debian bookworm main'],
    ['a disc', 'deb cdrom:[Debian]/ bookworm main'],
  ])('should leave out %s', (_what, line) => {
    const own = 'deb http://mirror.example/debian bookworm main'
    expect(pickSources(list(`${own}\n${line}`), 'bookworm')).toEqual([own])
  })

  it('should leave out disabled stanzas and keys that are written into the file', () => {
    const stanza = (extra: string) => `Types: deb\nURIs: http://a.example\nSuites: bookworm\nComponents: main\n${extra}`
    expect(pickSources(deb822(stanza('Enabled: no')), 'bookworm')).toEqual([])
    const key = 'Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----'
    expect(pickSources(deb822(stanza(key)), 'bookworm')).toEqual([])
    expect(pickSources(deb822(stanza('')), 'bookworm')).toHaveLength(1)
  })

  it('should give nothing when only updates of the release are listed', () => {
    expect(pickSources(list('deb http://mirror.example/debian bookworm-updates main'), 'bookworm')).toEqual([])
  })

  it('should give each source once', () => {
    const line = 'deb http://mirror.example/debian bookworm main'
    expect(pickSources(list(`${line}\n${line}`), 'bookworm')).toEqual([line])
  })
})
