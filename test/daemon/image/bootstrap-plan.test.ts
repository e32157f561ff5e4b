import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { planBootstrap, readHostSystem } from '../../../daemon/image/bootstrap-plan.ts'

const host = (osRelease: string, sources = '') => ({
  osRelease,
  aptSources: [{ path: '/etc/apt/sources.list', text: sources }],
  architecture: 'x64',
})

describe('planBootstrap', () => {
  it('should follow a Debian host and its sources', () => {
    const line = 'deb http://mirror.example/debian bookworm main'
    const plan = planBootstrap(host('ID=debian\nVERSION_CODENAME=bookworm\n', line))
    expect(plan).toMatchObject({ title: 'Debian bookworm', suite: 'bookworm', components: ['main'], mirrors: [line] })
  })

  it('should follow an Ubuntu host, whose tools are in two components', () => {
    const plan = planBootstrap(host('NAME="Ubuntu"\nID="ubuntu"\nVERSION_CODENAME="noble"\n'))
    expect(plan).toMatchObject({ title: 'Ubuntu noble', suite: 'noble', components: ['main', 'universe'], mirrors: [] })
  })

  it.each([
    ['another distribution', 'ID=fedora\nVERSION_CODENAME=""\n'],
    ['a relative of Debian', 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=virginia\n'],
    ['a Debian without a code name', 'ID=debian\n'],
    ['a code name that is none', 'ID=debian\nVERSION_CODENAME=--mode=root\n'],
    ['a host that says nothing', ''],
  ])('should take stable Debian from its usual mirror on %s', (_what, osRelease) => {
    const plan = planBootstrap(host(osRelease, 'deb http://mirror.example/debian trixie main'))
    expect(plan).toMatchObject({ title: 'Debian trixie', mirrors: [] })
  })

  it('should have a key that changes with suite, sources and architecture', () => {
    const debian = 'ID=debian\nVERSION_CODENAME=bookworm\n'
    const plain = host(debian)
    const keys = [
      plain,
      host(debian, 'deb http://mirror.example/debian bookworm main'),
      host('ID=debian\nVERSION_CODENAME=trixie\n'),
      { ...plain, architecture: 'arm64' },
    ].map((each) => planBootstrap(each).key)
    expect(new Set(keys).size).toBe(4)
    expect(planBootstrap(plain).key).toBe(keys[0])
    for (const key of keys) expect(key).toMatch(/^[0-9a-f]{16}$/)
  })
})

describe('readHostSystem', () => {
  it('should read what is there and miss nothing that is not', async () => {
    const etc = await mkdtemp(join(tmpdir(), 'loopat-etc-'))
    try {
      expect(await readHostSystem(etc, 'x64')).toEqual({ osRelease: '', aptSources: [], architecture: 'x64' })
      await mkdir(join(etc, 'apt/sources.list.d'), { recursive: true })
      await writeFile(join(etc, 'os-release'), 'ID=debian\n')
      await writeFile(join(etc, 'apt/sources.list'), 'one')
      await writeFile(join(etc, 'apt/sources.list.d/b.sources'), 'two')
      await writeFile(join(etc, 'apt/sources.list.d/c.disabled'), 'three')
      const { osRelease, aptSources } = await readHostSystem(etc, 'x64')
      expect(osRelease).toBe('ID=debian\n')
      expect(aptSources.map((source) => source.text)).toEqual(['one', 'two'])
    } finally {
      await rm(etc, { recursive: true })
    }
  })
})
