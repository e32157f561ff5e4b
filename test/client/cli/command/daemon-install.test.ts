import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { fillIn, homeDropIn, quote } from '../../../../client/cli/command/daemon-install.ts'
import { TestHost } from '../host.ts'

const unit = (name: string) => readFileSync(new URL(`../../../../systemd/${name}`, import.meta.url), 'utf8')

describe('units', () => {
  it('should start the program by its full path, in the PATH of who installs it', () => {
    const text = fillIn(unit('loopatd.service'), '/opt/a $b/loopatd', '/opt/node/bin:bin::/usr/bin')
    expect(text).toMatch(/^# Written by `loopctl daemon install`/)
    expect(text).toContain('\nExecStart="/opt/a $b/loopatd"\nEnvironment="PATH=/opt/node/bin:/usr/bin"\n')
    expect(text).not.toMatch(/^ExecStart=loopatd$/m)
  })

  it('should write values so that systemd reads them as they are', () => {
    expect(quote('/a b/50%/"x"\\')).toBe('"/a b/50%%/\\"x\\"\\\\"')
    expect(homeDropIn('/h 100%')).toMatch(/\n\[Service\]\nEnvironment="LOOPAT_HOME=\/h 100%%"\n$/)
  })

  it('should differ between ~/.loopat and other homes in nothing but names', () => {
    for (const kind of ['service', 'socket']) {
      const settings = (name: string) =>
        unit(name)
          .split('\n')
          .filter((line) => !line.startsWith('#'))
      const renamed = settings(`loopatd@.${kind}`).map((line) =>
        line.replaceAll('loopatd@%i', 'loopatd').replace(' (%i)', '').replace('loopat/%i/', 'loopat/loopat/'),
      )
      expect(renamed).toEqual(settings(`loopatd.${kind}`))
    }
  })
})

describe('loopctl daemon install', () => {
  it('should say what to do where no systemd answers', async () => {
    const { code, stderr } = await new TestHost({ env: { PATH: '/nowhere' } }).run('daemon', 'install')
    expect(code).toBe(2)
    expect(stderr).toContain('loopctl daemon start')
  })

  it('should have nothing to undo where nothing is installed', async () => {
    const host = new TestHost({ env: { PATH: '/nowhere', HOME: '/nowhere' } })
    expect(await host.run('daemon', 'uninstall')).toMatchObject({ code: 0, stderr: 'The daemon is not installed.\n' })
  })
})
