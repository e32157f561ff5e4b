import { describe, expect, it } from 'vitest'
import { buildEnvironment, type HostEnvironment, mapDirectory } from '../../../daemon/host/host-place.ts'

const mapped = (cwd: string | Buffer) => mapDirectory(Buffer.from(cwd), '/loopat/work', '/home/u/ws/loops/1/work')

describe('the directory of a command', () => {
  it.each<[string, string[]]>([
    ['/loopat/work', []],
    ['/loopat/work/a', ['a']],
    ['/loopat/work/a/b c/é', ['a', 'b c', 'é']],
    ['/loopat/work/...', ['...']],
    // What lies outside has no place on the host.
    ['/', []],
    ['/etc', []],
    ['/loopat', []],
    ['/loopat/work-evil', []],
    ['/loopat/work-evil/a', []],
    ['/loopat/workdir', []],
    ['loopat/work/a', []],
    ['(unreachable)/loopat/work/a', []],
    ['', []],
    ['/../loopat/work/a', []],
  ])('%j should be mapped', (cwd, names) => {
    expect(mapped(cwd)).toEqual({ from: '/home/u/ws/loops/1/work', names })
  })

  it.each([
    '/loopat/work/..',
    '/loopat/work/../../etc',
    '/loopat/work/a/../..',
    '/loopat/work/.',
    '/loopat/work/a/./b',
    '/loopat/work/',
    '/loopat/work//a',
    Buffer.from('/loopat/work/\xff', 'latin1'),
    Buffer.from('/loopat/work/\xc3', 'latin1'),
  ])('%j should not be found', (cwd) => {
    expect(mapped(cwd)).toBeUndefined()
  })

  it('should not be the place of a name that is no text, outside', () => {
    expect(mapped(Buffer.from('/tmp/\xff', 'latin1'))?.names).toEqual([])
  })
})

const daemon = {
  HOME: '/home/u',
  USER: 'u',
  LANG: 'C.UTF-8',
  PATH: '/evil',
  LD_PRELOAD: '/evil.so',
  GIT_DIR: '/evil',
  NODE_OPTIONS: '--evil',
  SSH_AUTH_SOCK: '/agent',
  HTTPS_PROXY: 'http://evil',
  TERM: 'of-the-daemon',
  SECRET: 'secret',
  WANTED: 'wanted',
  UNSET: undefined,
}

function environment(fields: Partial<HostEnvironment> = {}): Record<string, string> {
  return buildEnvironment({ daemon, path: '/usr/bin:/bin', caller: {}, env: {}, passEnv: [], mark: {}, ...fields })
}

describe('the environment of a command', () => {
  it('should be a fixed one', () => {
    const { HOME, USER, LANG, PATH, ...rest } = environment()
    expect({ HOME, USER, LANG, PATH }).toEqual({ HOME: '/home/u', USER: 'u', LANG: 'C.UTF-8', PATH: '/usr/bin:/bin' })
    expect(Object.keys(rest).filter((name) => !/^GIT_(CONFIG_|SSH_COMMAND$)/.test(name))).toEqual([])
    expect(Object.values(rest).join()).not.toMatch(/evil|secret/)
  })

  it('should have what the grant adds, and of the caller what it may say', () => {
    const made = environment({
      caller: { TERM: 'xterm', COLUMNS: '80' },
      passEnv: ['WANTED', 'UNSET', 'MISSING', 'TERM', 'constructor', '__proto__', 'toString'],
      env: { EXTRA: '1' },
    })
    expect(made).toMatchObject({ COLUMNS: '80', WANTED: 'wanted', EXTRA: '1', TERM: 'of-the-daemon' })
    const names = Object.keys(made)
    for (const name of ['UNSET', 'MISSING', 'constructor', '__proto__', 'toString', 'SECRET']) {
      expect(names).not.toContain(name)
    }
  })

  it('should believe the grant before the caller, and nobody about its own marks', () => {
    const made = environment({
      caller: { TERM: 'caller' },
      passEnv: ['WANTED'],
      env: { WANTED: 'mine', TERM: 'grant', LOOPAT_HOST: 'forged', PATH: '/opt/bin' },
      mark: { LOOPAT_HOST: 'true' },
    })
    expect(made).toMatchObject({ WANTED: 'mine', TERM: 'grant', LOOPAT_HOST: 'true', PATH: '/opt/bin' })
  })

  it('should keep git from running what a workdir names', () => {
    const made = environment()
    const count = Number(made.GIT_CONFIG_COUNT)
    const pairs = Array.from({ length: count }, (_, n) => [made[`GIT_CONFIG_KEY_${n}`], made[`GIT_CONFIG_VALUE_${n}`]])
    expect(Object.fromEntries(pairs)).toMatchObject({ 'core.fsmonitor': 'false', 'core.hooksPath': '/dev/null' })
    expect(pairs.flat()).not.toContain(undefined)
  })
})
