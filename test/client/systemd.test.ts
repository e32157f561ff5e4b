import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { installedUnits, isInstalled, systemctl, unitsOf } from '@loopatd/client'
import { workspaceName } from '@loopatd/protocol/socket'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'units-'))
})
afterEach(() => rmSync(home, { recursive: true }))

const workspace = (path: string) => ({
  name: workspaceName(path, join(home, '.loopat')),
  home: path,
  runtimeDir: '/r',
  socket: '/r/loopatd.sock',
})

/** Puts a program in place of systemctl. */
function fakeSystemctl(script: string): Record<string, string> {
  writeFileSync(join(home, 'systemctl'), `#!/bin/sh\n${script}\n`)
  chmodSync(join(home, 'systemctl'), 0o755)
  return { HOME: home, PATH: `${home}:/usr/bin:/bin` }
}

describe('the units of a workspace', () => {
  it('should be plain for ~/.loopat, and instances by name for every other home', () => {
    expect(unitsOf(workspace(join(home, '.loopat')), { HOME: home })).toEqual({
      directory: join(home, '.config/systemd/user'),
      service: 'loopatd.service',
      socket: 'loopatd.socket',
      files: ['loopatd.service', 'loopatd.socket'].map((name) => join(home, '.config/systemd/user', name)),
      dropIn: undefined,
    })
    const other = workspace('/elsewhere/.loopat')
    const units = unitsOf(other, { HOME: home, XDG_CONFIG_HOME: '/c' })
    expect(other.name).toMatch(/^loopat-[0-9a-f]{6}$/)
    expect(units).toEqual({
      directory: '/c/systemd/user',
      service: `loopatd@${other.name}.service`,
      socket: `loopatd@${other.name}.socket`,
      files: ['/c/systemd/user/loopatd@.service', '/c/systemd/user/loopatd@.socket'],
      dropIn: `/c/systemd/user/loopatd@${other.name}.service.d/home.conf`,
    })
  })

  it('should count as installed when all of their files are there', () => {
    const units = unitsOf(workspace('/elsewhere/ws'), { HOME: home })
    for (const path of [...units.files, units.dropIn ?? '']) {
      expect(isInstalled(units)).toBe(false)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, '')
    }
    expect(isInstalled(units)).toBe(true)
  })

  it('should be used only when a manager answers', async () => {
    const own = workspace(join(home, '.loopat'))
    const env = fakeSystemctl('echo "Failed to connect to bus" >&2; exit 1')
    for (const path of unitsOf(own, env).files) {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, '')
    }
    expect(await installedUnits(own, env)).toBeUndefined()
    expect(await installedUnits(own, { ...env, PATH: '/nowhere' })).toBeUndefined()
    expect((await installedUnits(own, fakeSystemctl('exit 0')))?.service).toBe('loopatd.service')
  })
})

describe('systemctl', () => {
  it('should say what systemctl says', async () => {
    expect(await systemctl(['show'], fakeSystemctl('echo "$*"'))).toBe('--user show\n')
    await expect(systemctl(['stop', 'x'], fakeSystemctl('echo "no such unit" >&2; exit 5'))).rejects.toMatchObject({
      code: 'daemon_unreachable',
      message: 'systemctl --user stop x failed: no such unit',
      next: expect.any(String),
    })
  })

  it('should say what the service says that it cannot start, once it says it', async () => {
    const env = fakeSystemctl(
      `[ "$2" = show ] || { echo "control process exited" >&2; exit 1; }
[ -e ${home}/asked ] && echo "StatusText=config.toml:1: unknown key x" || touch ${home}/asked`,
    )
    await expect(systemctl(['restart', 'x.service'], env)).rejects.toMatchObject({
      message: 'systemctl --user restart x.service failed: config.toml:1: unknown key x',
    })
  })

  it('should be cancelled', async () => {
    const env = fakeSystemctl('exec sleep 60')
    await expect(systemctl(['start'], env, AbortSignal.timeout(50))).rejects.toMatchObject({ code: 'cancelled' })
  })
})
