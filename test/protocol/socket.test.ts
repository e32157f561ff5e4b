import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  findWorkspace,
  MAX_SOCKET_PATH_BYTES,
  type WorkspaceEnvironment,
  workspaceName,
} from '@loopatd/protocol/socket'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

let base: string

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'loopat-ws-')))
})

afterEach(() => {
  rmSync(base, { recursive: true, force: true })
})

function environment(env: WorkspaceEnvironment['env'] = {}): WorkspaceEnvironment {
  // A uid that has no directory under /run/user.
  return { env: { XDG_RUNTIME_DIR: '/run/u', ...env }, uid: 4_000_000, homedir: join(base, 'home'), tmpdir: '/tmp' }
}

describe('workspaceName', () => {
  it.each([
    ['/home/me/.loopat', 'loopat'],
    ['/home/me/...loopat', 'loopat'],
    ['/', 'loopat'],
    ['/home/me/...', 'loopat'],
    ['/home/me/My Work', 'my-work'],
    ['/home/me/Ünïcode', 'n-code'],
    ['/home/me/_x_', 'x'],
    ['/home/me/a.b-c_d', 'a.b-c_d'],
    ['/home/me/日本', 'loopat'],
    [`/home/me/${'x'.repeat(80)}`, 'x'.repeat(40)],
  ])('should make %s into %s', (home, name) => {
    expect(workspaceName(home, home)).toBe(name)
    expect(workspaceName(home, '/other')).toMatch(new RegExp(`^${name}-[0-9a-f]{6}$`))
  })

  it('should keep homes with one base name apart', () => {
    expect(workspaceName('/a/work', '/d')).not.toBe(workspaceName('/b/work', '/d'))
  })

  it('should always be a name that podman takes', () => {
    for (const name of ['ÄÖÜ', '-', '--x--', '.a.', 'a..b', ' x ', '\n', 'X'.repeat(300)]) {
      expect(workspaceName(`/h/${name}`, '/d')).toMatch(/^[a-z0-9][a-z0-9_.-]*$/)
    }
  })
})

describe('findWorkspace', () => {
  it.each([
    ['/proc/loopat', 'proc'],
    ['/proc/self/a/b', 'proc'],
    ['/sys/loopat', 'sysfs'],
  ])('should refuse %s, where no files can be kept', (home, fileSystem) => {
    expect(() => findWorkspace(environment({ LOOPAT_HOME: home }))).toThrow(
      expect.objectContaining({
        code: 'config_invalid',
        message: `"${home}" cannot be the home of a workspace: the file system there (${fileSystem}) keeps no files`,
        next: 'Set LOOPAT_HOME to a directory of yours.',
      }),
    )
  })

  it('should be ~/.loopat, by its plain name, unless told otherwise', () => {
    expect(findWorkspace(environment())).toEqual({
      name: 'loopat',
      home: join(base, 'home/.loopat'),
      runtimeDir: '/run/u/loopat/loopat',
      socket: '/run/u/loopat/loopat/loopatd.sock',
    })
    expect(findWorkspace(environment({ LOOPAT_HOME: '' })).name).toBe('loopat')
  })

  it('should be the same workspace by whatever path its home is named', () => {
    mkdirSync(join(base, 'real'))
    symlinkSync(join(base, 'real'), join(base, 'link'))
    const names = ['real', 'link', 'link/', './link/../link', 'real/.'].map(
      (path) => findWorkspace(environment({ LOOPAT_HOME: `${base}/${path}` })).name,
    )
    expect(new Set(names).size).toBe(1)
    expect(names[0]).toMatch(/^real-[0-9a-f]{6}$/)
    expect(findWorkspace(environment({ LOOPAT_HOME: join(base, 'link/new/x') })).home).toBe(join(base, 'real/new/x'))
    expect(findWorkspace(environment({ LOOPAT_HOME: join(base, 'home/.loopat') })).name).toBe('loopat')
  })

  it('should refuse a home that is not absolute', () => {
    expect(() => findWorkspace(environment({ LOOPAT_HOME: 'work' }))).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining('"work"') }),
    )
  })

  it.each(['a:b', 'a,b', 'a\nb'])('should refuse a home below which podman can mount nothing: %j', (name) => {
    expect(() => findWorkspace(environment({ LOOPAT_HOME: join(base, name) }))).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining('podman') }),
    )
  })

  it('should refuse a home that leads nowhere', () => {
    writeFileSync(join(base, 'file'), '')
    symlinkSync(join(base, 'loop'), join(base, 'loop'))
    for (const [path, code] of [
      ['file/x', 'ENOTDIR'],
      ['loop', 'ELOOP'],
    ]) {
      expect(() => findWorkspace(environment({ LOOPAT_HOME: `${base}/${path}` }))).toThrow(
        expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining(`(${code})`) }),
      )
    }
  })

  it('should not care about the usual home when another one is named', () => {
    writeFileSync(join(base, 'home'), '')
    expect(findWorkspace(environment({ LOOPAT_HOME: join(base, 'work') })).name).toMatch(/^work-/)
  })

  it('should fall back to a directory of the user when XDG_RUNTIME_DIR is missing or not absolute', () => {
    const without = environment({ XDG_RUNTIME_DIR: undefined })
    expect(findWorkspace(without).runtimeDir).toBe('/tmp/loopat-4000000/loopat')
    expect(findWorkspace(environment({ XDG_RUNTIME_DIR: 'run' })).runtimeDir).toBe('/tmp/loopat-4000000/loopat')
    chmodSync(base, 0o700)
    expect(findWorkspace({ ...without, tmpdir: base }).runtimeDir).toBe(join(base, 'loopat-4000000/loopat'))
  })

  it('should trust nothing of somebody else where anybody can make a directory', () => {
    const from = { ...environment({ XDG_RUNTIME_DIR: undefined }), tmpdir: base }
    const path = join(base, `loopat-${from.uid}`)
    const refused = expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining(path) })
    expect(findWorkspace(from).runtimeDir).toBe(join(path, 'loopat'))
    // Whoever runs this test is somebody else.
    mkdirSync(path, { mode: 0o700 })
    expect(() => findWorkspace(from)).toThrow(refused)
    rmSync(path, { recursive: true })
    symlinkSync('/nowhere', path)
    expect(() => findWorkspace(from)).toThrow(refused)
  })

  it('should take a socket path of 107 bytes and refuse a longer one', () => {
    const rest = Buffer.byteLength('/loopat/loopat/loopatd.sock')
    const fits = `/${'x'.repeat(MAX_SOCKET_PATH_BYTES - rest - 1)}`
    expect(Buffer.byteLength(findWorkspace(environment({ XDG_RUNTIME_DIR: fits })).socket)).toBe(107)
    const twenty = `${fits}${'é'.repeat(10)}`
    expect(() => findWorkspace(environment({ XDG_RUNTIME_DIR: twenty }))).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining('127 bytes') }),
    )
  })
})
