import { execFileSync } from 'node:child_process'
import { chmod, mkdir, rename, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { never } from '../loop/kit.ts'
import { USER, VaultHome } from './kit.ts'

let home: VaultHome

beforeEach(async () => {
  home = await VaultHome.open()
})

afterEach(async () => {
  await home[Symbol.asyncDispose]()
})

const env = (vault = 'work') => home.store.env(USER, vault, never)
const mounts = (vault = 'work') => home.store.homeMounts(USER, vault, never)
const refused = () => home.lines.map(({ level, fields }) => ({ level, ...fields }))

describe('variables of a vault', () => {
  it('should be the files in `envs`, without the line ends behind them', async () => {
    await home.write(home.vault('work', 'envs', 'TOKEN'), 's3cret\n')
    await home.write(home.vault('work', 'envs', 'LINES'), ' one\n two \r\n\n')
    await home.write(home.vault('work', 'envs', 'EMPTY'), '')
    expect(await env()).toEqual({ EMPTY: '', LINES: ' one\n two ', TOKEN: 's3cret' })
    expect(home.lines).toEqual([])
  })

  it('should be those of the one vault', async () => {
    await home.write(home.vault('work', 'envs', 'TOKEN'), 'work')
    await home.write(home.vault('play', 'envs', 'OTHER'), 'play')
    expect(await env()).toEqual({ TOKEN: 'work' })
  })

  it('should be read anew every time', async () => {
    const path = await home.write(home.vault('work', 'envs', 'TOKEN'), 'old')
    expect(await env()).toEqual({ TOKEN: 'old' })
    await writeFile(path, 'new')
    expect(await env()).toEqual({ TOKEN: 'new' })
  })

  it('should be none without a directory, and none in a vault `default` that does not exist', async () => {
    await home.directory(home.vault('work'))
    expect(await env()).toEqual({})
    expect(await env('default')).toEqual({})
    expect(await mounts('default')).toEqual([])
  })

  it('should not be looked for in another vault that does not exist', async () => {
    await expect(env('nowhere')).rejects.toMatchObject({ code: 'vault_not_found' })
    await expect(mounts('nowhere')).rejects.toMatchObject({ code: 'vault_not_found' })
  })

  it('should follow links to what else the user keeps', async () => {
    await home.write(home.personal('shared', 'token'), 'shared\n')
    await home.directory(home.vault('work', 'envs'))
    await symlink('../../../../shared/token', home.vault('work', 'envs', 'TOKEN'))
    expect(await env()).toEqual({ TOKEN: 'shared' })
  })

  it('should not be delivered as names that are none, hidden or directories', async () => {
    for (const name of ['.hidden', '.#LOCK', 'WITH-DASH', '1ST', 'A.B'])
      await home.write(home.vault('work', 'envs', name))
    await home.directory(home.vault('work', 'envs', 'DIRECTORY'))
    expect(await env()).toEqual({})
    expect(refused()).toEqual([
      { level: 'warn', vault: home.vault('work'), entry: 'envs/1ST', target: null },
      { level: 'warn', vault: home.vault('work'), entry: 'envs/A.B', target: null },
      {
        level: 'warn',
        vault: home.vault('work'),
        entry: 'envs/DIRECTORY',
        target: home.vault('work', 'envs', 'DIRECTORY'),
      },
      { level: 'warn', vault: home.vault('work'), entry: 'envs/WITH-DASH', target: null },
    ])
  })

  it('should not be delivered when no environment could hold them', async () => {
    const file = (name: string, content: Buffer | string) => home.write(home.vault('work', 'envs', name), content)
    await file('NUL', 'a\0b')
    await file('BINARY', Buffer.from([0xff, 0xfe]))
    await file('LARGE', 'x'.repeat(131_073))
    await file('GOOD', 'ü\n')
    expect(await env()).toEqual({ GOOD: 'ü' })
    expect(home.lines).toHaveLength(3)
  })

  it('should not grow beyond what a program can be started with', async () => {
    for (let index = 10; index < 20; index += 1)
      await home.write(home.vault('work', 'envs', `V${index}`), 'x'.repeat(130_000))
    expect(Object.keys(await env())).toHaveLength(8)
    expect(home.lines).toHaveLength(2)
  })

  it('should be complained about once, and again when something else is wrong', async () => {
    await home.write(home.vault('work', 'envs', 'A-B'))
    await env()
    await env()
    expect(home.lines).toHaveLength(1)
    await home.write(home.vault('work', 'envs', 'C-D'))
    await env()
    expect(home.lines).toHaveLength(3)
  })
})

describe('hostile vaults', () => {
  /** Every way out that a link can take, with what it must not reach. */
  const ways: readonly (readonly [string, () => string | Promise<string>])[] = [
    ['an absolute path of the host', () => home.outside],
    ['a relative path of the host', () => '../../../../../../../outside'],
    ['the system', () => '/etc/passwd'],
    ['a device', () => '/dev/zero'],
    ['the kernel', () => '/proc/self/environ'],
    ['another user', () => home.write(join(home.home, 'personal', 'bob', 'secret'), 'BOB')],
    [
      'a user whose name begins like this one',
      () => home.write(join(home.home, 'personal', `${USER}2`, 'secret'), 'BOB'),
    ],
    ['another vault', () => home.write(home.vault('play', 'envs', 'SECRET'), 'PLAY')],
    ['a vault whose name begins like this one', () => home.write(home.vault('work2', 'envs', 'SECRET'), 'PLAY')],
    ['the settings', () => home.write(home.personal('.loopat', 'config.json'), '{}')],
    ['the keys of git', () => home.write(home.personal('.git', 'git-crypt', 'keys', 'default'), 'KEY')],
    ['the configuration', () => home.write(join(home.home, 'config.toml'), 'SECRET')],
    [
      'a link that leads out',
      async () => {
        await symlink(home.outside, await home.directory(home.personal('shared')).then((path) => join(path, 'link')))
        return home.personal('shared', 'link')
      },
    ],
    [
      'a directory that is a link out',
      async () => {
        await home.directory(home.personal('shared'))
        await symlink('/etc', home.personal('shared', 'directory'))
        return home.personal('shared', 'directory', 'passwd')
      },
    ],
    ['itself', () => 'LINK'],
    ['nothing', () => 'missing'],
    ['the vault', () => home.vault('work')],
    ['all vaults', () => home.personal('.loopat', 'vaults')],
    ['everything of the user', () => home.personal()],
    ['the variables', () => home.vault('work', 'envs')],
    ['what is mounted', () => home.vault('work', 'mounts', 'home')],
    ['everything', () => '/'],
  ]

  it.each(ways)('should not deliver a link to %s', async (_what, target) => {
    await home.directory(home.vault('work', 'envs'))
    await home.directory(home.vault('work', 'mounts', 'home'))
    const path = await target()
    await symlink(path, home.vault('work', 'envs', 'LINK'))
    await symlink(path, home.vault('work', 'mounts', 'home', 'LINK'))
    expect(await env()).toEqual({})
    expect(await mounts()).toEqual([])
    expect(home.lines.map(({ level }) => level)).toEqual(['warn', 'warn'])
  })

  it('should neither wait for a pipe nor read from a device or a socket', async () => {
    await home.directory(home.vault('work', 'envs'))
    await home.directory(home.vault('work', 'mounts', 'home'))
    execFileSync('mkfifo', [home.vault('work', 'envs', 'PIPE'), home.vault('work', 'mounts', 'home', 'pipe')])
    expect(await env()).toEqual({})
    expect(await mounts()).toEqual([])
    expect(home.lines).toHaveLength(2)
  })

  it('should never read what a link leads to that is put there meanwhile', async () => {
    const path = await home.write(home.vault('work', 'envs', 'TOKEN'), 'mine')
    const beside = home.vault('work', 'beside')
    const racing = new AbortController()
    const race = (async () => {
      while (!racing.signal.aborted) {
        await symlink(home.outside, beside)
        await rename(beside, path)
        await writeFile(beside, 'mine')
        await rename(beside, path)
      }
    })()
    const seen = new Set<string | undefined>()
    for (let round = 0; round < 300; round += 1) seen.add((await env()).TOKEN)
    racing.abort()
    await race
    seen.add((await env()).TOKEN)
    expect([...seen].filter((value) => value !== undefined)).toEqual(['mine'])
  })

  it.each([['personal'], ['personal/ada'], ['personal/ada/.loopat'], ['personal/ada/.loopat/vaults/work']])(
    'should refuse a vault when %s is a link',
    async (path) => {
      await home.write(home.vault('work', 'envs', 'TOKEN'), 'x')
      const place = join(home.home, path)
      await rename(place, `${home.outside}-moved`)
      await symlink(`${home.outside}-moved`, place)
      await expect(env()).rejects.toMatchObject({ code: 'vault_invalid' })
      await expect(mounts()).rejects.toMatchObject({ code: 'vault_invalid' })
    },
  )

  it('should refuse a vault that is a file', async () => {
    await home.write(home.vault('work'), '')
    await expect(env()).rejects.toMatchObject({ code: 'vault_invalid' })
  })

  it('should work in a home that is reached over a link', async () => {
    await home.write(home.vault('work', 'envs', 'TOKEN'), 'x')
    await rename(home.home, `${home.outside}-home`)
    await symlink(`${home.outside}-home`, home.home)
    expect(await env()).toEqual({ TOKEN: 'x' })
  })
})

describe('home mounts of a vault', () => {
  it('should be the top-level entries with their real paths', async () => {
    await home.write(home.vault('work', 'mounts', 'home', '.aws', 'credentials'))
    await home.write(home.vault('work', 'mounts', 'home', '.netrc'))
    await home.write(home.vault('work', 'mounts', 'home', '.#lock'))
    await home.write(home.personal('dotfiles', 'gitconfig'))
    await symlink('../../../../../dotfiles/gitconfig', home.vault('work', 'mounts', 'home', '.gitconfig'))
    expect(await mounts()).toEqual([
      { name: '.aws', source: home.vault('work', 'mounts', 'home', '.aws'), kind: 'directory' },
      { name: '.gitconfig', source: home.personal('dotfiles', 'gitconfig'), kind: 'file' },
      { name: '.netrc', source: home.vault('work', 'mounts', 'home', '.netrc'), kind: 'file' },
    ])
    expect(home.lines).toEqual([])
  })

  it('should leave out what podman cannot mount', async () => {
    for (const name of ['a:b', 'a,b', 'a\nb', 'good']) await home.write(home.vault('work', 'mounts', 'home', name))
    expect((await mounts()).map(({ name }) => name)).toEqual(['good'])
    expect(home.lines).toHaveLength(3)
  })

  it('should leave out an entry that leads into another one: a loop could replace its target', async () => {
    await home.write(home.vault('work', 'mounts', 'home', '.config', 'git', 'config'))
    await symlink('.config/git/config', home.vault('work', 'mounts', 'home', '.gitconfig'))
    expect((await mounts()).map(({ name }) => name)).toEqual(['.config'])
    expect(refused()).toMatchObject([{ entry: 'mounts/home/.gitconfig' }])
  })
})

describe('modes of ssh', () => {
  const modeOf = async (path: string) => (await stat(path)).mode & 0o777

  it('should be what ssh insists on', async () => {
    const ssh = home.vault('work', 'mounts', 'home', '.ssh')
    const wanted = {
      config: 0o600,
      id: 0o600,
      id_ed25519: 0o600,
      'id_ed25519.pub': 0o644,
      deploy_rsa: 0o600,
      identity: 0o600,
      known_hosts: 0o644,
    }
    for (const name of Object.keys(wanted)) await chmod(await home.write(join(ssh, name)), 0o666)
    await chmod(ssh, 0o755)
    await mounts()
    expect(await modeOf(ssh)).toBe(0o700)
    for (const [name, mode] of Object.entries(wanted))
      expect([name, await modeOf(join(ssh, name))]).toEqual([name, mode])
  })

  it('should not be given to what a link leads to', async () => {
    const ssh = home.vault('work', 'mounts', 'home', '.ssh')
    await mkdir(ssh, { recursive: true })
    await chmod(home.outside, 0o666)
    await symlink(home.outside, join(ssh, 'id_rsa'))
    await mounts()
    expect(await modeOf(home.outside)).toBe(0o666)
  })
})
