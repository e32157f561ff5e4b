import { chmod, readdir, readFile, rename, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { METHODS, type ParamsOf } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { VaultService } from '../../../daemon/vault/vault-service.ts'
import { memoryLog, never } from '../loop/kit.ts'
import { USER, VaultHome } from './kit.ts'

let home: VaultHome
let service: VaultService
let users: Record<string, readonly string[]>

beforeEach(async () => {
  home = await VaultHome.open()
  users = {}
  service = new VaultService({
    store: home.store,
    loops: {
      selecting: async (user, vault) => (user === USER ? (users[vault] ?? []) : []),
      lookAgain: () => undefined,
    },
    user: USER,
    log: memoryLog(home.lines),
  })
})

afterEach(async () => {
  await home[Symbol.asyncDispose]()
})

const set = async (params: ParamsOf<'vault/set'>) => await service.set(METHODS['vault/set'].params.parse(params), never)
const unset = async (params: ParamsOf<'vault/unset'>) =>
  await service.unset(METHODS['vault/unset'].params.parse(params), never)
const create = (vault: string) => service.create({ vault }, never)
const remove = (vault: string, force = false) => service.remove({ vault, force }, never)
const show = async (vault: string) => (await service.show({ vault }, never)).vault
const setFile = (path: string, content = 'x', vault = 'work') =>
  set({ vault, home: path, content: Buffer.from(content).toString('base64') })
const modeOf = async (path: string) => (await stat(path)).mode & 0o777

describe('vaults', () => {
  it('should be created once, for nobody else to read', async () => {
    expect(await create('work')).toEqual({ created: true })
    expect(await create('work')).toEqual({ created: false })
    for (const path of ['', '.loopat', '.loopat/vaults', '.loopat/vaults/work']) {
      expect(await modeOf(home.personal(path))).toBe(0o700)
    }
  })

  it('should be listed by name: directories with the name of a vault', async () => {
    expect(await service.list({}, never)).toEqual({ vaults: [] })
    for (const name of ['work', 'Play', '.hidden', 'not a name']) await home.directory(home.vault(name))
    await home.write(home.vault('file'))
    await symlink(home.vault('work'), home.vault('link'))
    expect((await service.list({}, never)).vaults.map(({ name }) => name)).toEqual(['Play', 'work'])
  })

  it('should be listed while others come and go', async () => {
    await create('stays')
    const change = async () => {
      for (let round = 0; round < 50; round += 1) {
        await create('goes')
        await remove('goes')
      }
    }
    const changing = change()
    for (let round = 0; round < 50; round += 1) {
      const { vaults } = await service.list({}, never)
      expect(vaults.map(({ name }) => name)).toContain('stays')
    }
    await changing
  })

  it('should show names and what is not delivered, never values', async () => {
    await home.write(home.vault('work', 'envs', 'TOKEN'), 's3cret')
    await home.write(home.vault('work', 'envs', 'NOT-A-NAME'), 's3cret')
    await home.write(home.vault('work', 'mounts', 'home', '.netrc'), 's3cret')
    await symlink('/etc', home.vault('work', 'mounts', 'home', 'etc'))
    users = { work: ['one', 'two'] }
    const vault = await show('work')
    expect(vault).toEqual({
      name: 'work',
      path: home.vault('work'),
      env: ['TOKEN'],
      home: [{ name: '.netrc', kind: 'file' }],
      loops: ['one', 'two'],
      warnings: [
        { entry: 'envs/NOT-A-NAME', target: null, why: 'is not the name of a variable' },
        { entry: 'mounts/home/etc', target: '/etc', why: 'leads out of the directory of its user' },
      ],
    })
    expect(JSON.stringify(vault)).not.toContain('s3cret')
  })

  it('should show `default` as empty while it does not exist, and no other', async () => {
    expect(await show('default')).toMatchObject({ name: 'default', env: [], home: [] })
    await expect(show('work')).rejects.toMatchObject({ code: 'vault_not_found' })
  })

  it('should not be removed while loops use them, unless that is wanted', async () => {
    await create('work')
    users = { work: ['one'] }
    await expect(remove('work')).rejects.toMatchObject({ code: 'vault_in_use', details: { loops: ['one'] } })
    expect(await readdir(home.personal('.loopat', 'vaults'))).toEqual(['work'])
    expect(await remove('work', true)).toEqual({})
    expect(await readdir(home.personal('.loopat', 'vaults'))).toEqual([])
    await expect(remove('work')).rejects.toMatchObject({ code: 'vault_not_found' })
  })

  it('should not be removed over a link', async () => {
    await create('work')
    await rename(home.vault('work'), home.personal('elsewhere'))
    await symlink(home.personal('elsewhere'), home.vault('work'))
    await expect(remove('work')).rejects.toMatchObject({ code: 'vault_invalid' })
    expect(await readdir(home.personal())).toContain('elsewhere')
  })
})

describe('variables', () => {
  it('should be set, replaced and taken out', async () => {
    await create('work')
    expect(await set({ vault: 'work', env: 'TOKEN', value: 'one' })).toEqual({ replaced: false })
    expect(await set({ vault: 'work', env: 'TOKEN', value: 'two\n\n' })).toEqual({ replaced: true })
    const path = home.vault('work', 'envs', 'TOKEN')
    expect(await readFile(path, 'utf8')).toBe('two\n')
    expect(await modeOf(path)).toBe(0o600)
    expect(await modeOf(home.vault('work', 'envs'))).toBe(0o700)
    expect(await unset({ vault: 'work', env: 'TOKEN' })).toEqual({ removed: true })
    expect(await unset({ vault: 'work', env: 'TOKEN' })).toEqual({ removed: false })
    expect(await readdir(home.vault('work', 'envs'))).toEqual([])
  })

  it('should create the vault `default`, and no other', async () => {
    await set({ vault: 'default', env: 'TOKEN', value: 'x' })
    expect(await home.store.env(USER, 'default', never)).toEqual({ TOKEN: 'x' })
    await expect(set({ vault: 'work', env: 'TOKEN', value: 'x' })).rejects.toMatchObject({ code: 'vault_not_found' })
    await expect(unset({ vault: 'work', env: 'TOKEN' })).rejects.toMatchObject({ code: 'vault_not_found' })
    expect(await readdir(home.personal('.loopat', 'vaults'))).toEqual(['default'])
  })

  it('should have nothing to take out of a `default` that does not exist', async () => {
    expect(await unset({ vault: 'default', env: 'TOKEN' })).toEqual({ removed: false })
    expect(await readdir(home.home)).toEqual([])
  })

  it('should replace a link, not what it leads to', async () => {
    await home.directory(home.vault('work', 'envs'))
    await symlink(home.outside, home.vault('work', 'envs', 'TOKEN'))
    await set({ vault: 'work', env: 'TOKEN', value: 'mine' })
    expect(await readFile(home.outside, 'utf8')).toBe('HOST SECRET\n')
    expect(await home.store.env(USER, 'work', never)).toEqual({ TOKEN: 'mine' })
  })

  it('should not be written over a link on the way', async () => {
    await create('work')
    await home.directory(`${home.outside}-directory`)
    await symlink(`${home.outside}-directory`, home.vault('work', 'envs'))
    await expect(set({ vault: 'work', env: 'TOKEN', value: 'x' })).rejects.toMatchObject({ code: 'vault_invalid' })
    expect(await readdir(`${home.outside}-directory`)).toEqual([])
  })

  it('should never reach the log', async () => {
    await create('work')
    await set({ vault: 'work', env: 'TOKEN', value: 's3cret' })
    await setFile('.netrc', 's3cret')
    expect(JSON.stringify(home.lines)).toContain('envs/TOKEN')
    expect(JSON.stringify(home.lines)).not.toContain('s3cret')
  })

  it('should leave no half-written file when the disk refuses', async () => {
    await set({ vault: 'default', env: 'TOKEN', value: 'old' })
    await chmod(home.vault('default', 'envs'), 0o500)
    if (process.getuid?.() !== 0) {
      await expect(set({ vault: 'default', env: 'TOKEN', value: 'new' })).rejects.toMatchObject({ code: 'EACCES' })
    }
    await chmod(home.vault('default', 'envs'), 0o700)
    expect(await readdir(home.vault('default', 'envs'))).toEqual(['TOKEN'])
  })
})

describe('files', () => {
  beforeEach(async () => {
    await create('work')
  })

  it('should be written below the home with their directories', async () => {
    expect(await setFile('.ssh/id_ed25519', 'KEY')).toEqual({ replaced: false })
    expect(await setFile('.ssh/id_ed25519', 'KEY2')).toEqual({ replaced: true })
    const path = home.vault('work', 'mounts', 'home', '.ssh', 'id_ed25519')
    expect(await readFile(path, 'utf8')).toBe('KEY2')
    expect(await modeOf(path)).toBe(0o600)
    expect((await show('work')).home).toEqual([{ name: '.ssh', kind: 'directory' }])
  })

  it('should be taken out, and directories when they are empty', async () => {
    await setFile('.aws/credentials')
    await expect(unset({ vault: 'work', home: '.aws' })).rejects.toMatchObject({ code: 'vault_invalid' })
    expect(await unset({ vault: 'work', home: '.aws/credentials' })).toEqual({ removed: true })
    expect(await unset({ vault: 'work', home: '.aws' })).toEqual({ removed: true })
    expect(await unset({ vault: 'work', home: '.aws/credentials' })).toEqual({ removed: false })
  })

  it('should neither follow links that a loop put there, nor replace directories', async () => {
    await setFile('.config/tool/token')
    const directory = await home.directory(`${home.outside}-directory`)
    await symlink(directory, home.vault('work', 'mounts', 'home', '.config', 'link'))
    const refusal = { code: 'vault_invalid' }
    await expect(setFile('.config/link/file')).rejects.toMatchObject(refusal)
    await expect(unset({ vault: 'work', home: '.config/link/file' })).rejects.toMatchObject(refusal)
    await expect(setFile('.config/tool')).rejects.toMatchObject(refusal)
    await expect(setFile('.config/tool/token/below')).rejects.toMatchObject(refusal)
    await expect(setFile(`.config/${'x'.repeat(300)}`)).rejects.toMatchObject(refusal)
    expect(await readdir(directory)).toEqual([])
    expect(await unset({ vault: 'work', home: '.config/link' })).toEqual({ removed: true })
    expect(await readdir(join(directory, '..'))).toContain('outside-directory')
  })

  it('should not be mounted while they are being written', async () => {
    await home.write(home.vault('work', 'mounts', 'home', '.netrc.0123456789ab.tmp~'))
    await home.write(home.vault('work', 'envs', 'TOKEN.0123456789ab.tmp~'))
    expect(await show('work')).toMatchObject({ home: [], env: [], warnings: [] })
  })
})

describe('bad input', () => {
  it.each([
    [{ vault: '../bob', env: 'A', value: 'x' }],
    [{ vault: '.hidden', env: 'A', value: 'x' }],
    [{ vault: '', env: 'A', value: 'x' }],
    [{ vault: 'a/b', env: 'A', value: 'x' }],
    [{ vault: 'x'.repeat(65), env: 'A', value: 'x' }],
    [{ vault: 'v', env: 'A-B', value: 'x' }],
    [{ vault: 'v', env: '../A', value: 'x' }],
    [{ vault: 'v', env: '', value: 'x' }],
    [{ vault: 'v', env: 'A', value: 'a\0b' }],
    [{ vault: 'v', env: 'A', value: 'ä'.repeat(65_537) }],
    [{ vault: 'v', env: 'A' }],
    [{ vault: 'v', value: 'x' }],
    [{ vault: 'v', env: 'A', home: 'b', value: 'x', content: '' }],
    [{ vault: 'v', home: 'b', value: 'x' }],
    [{ vault: 'v', home: 'b', content: 'no base64!' }],
    [{ vault: 'v', home: '/etc/passwd', content: '' }],
    [{ vault: 'v', home: '..', content: '' }],
    [{ vault: 'v', home: 'a/../../b', content: '' }],
    [{ vault: 'v', home: './a', content: '' }],
    [{ vault: 'v', home: 'a//b', content: '' }],
    [{ vault: 'v', home: 'a/', content: '' }],
    [{ vault: 'v', home: 'a:b', content: '' }],
    [{ vault: 'v', home: 'a,b', content: '' }],
    [{ vault: 'v', home: 'a\nb', content: '' }],
    [{ vault: 'v', home: '.#lock', content: '' }],
    [{ vault: 'v', env: 'A', value: 'x', more: 1 }],
  ])('should be refused at the edge: %j', (params) => {
    expect(METHODS['vault/set'].params.safeParse(params).success).toBe(false)
  })
})
