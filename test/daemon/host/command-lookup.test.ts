import { chmod, copyFile, link, mkdir, mkdtemp, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CommandLookup, nameOf } from '../../../daemon/host/command-lookup.ts'
import { program } from './service-kit.ts'

let root = ''
const at = (...names: string[]) => join(root, ...names)

beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'loopat-lookup-')))
  for (const name of ['bin', 'opt', 'loop', 'alternatives']) await mkdir(at(name))
  await program(at('bin/tool'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const lookup = (path = [at('bin')], writable = [at('loop'), at('missing')]) =>
  new CommandLookup({ path, writable: async () => writable })
const unsafe = expect.objectContaining({ code: 'host_path_unsafe' })
const missing = expect.objectContaining({ code: 'host_command_not_found' })

describe('a command', () => {
  it('should be found by its name, in the order of the path, and by its path', async () => {
    await program(at('opt/tool'))
    await program(at('opt/only'))
    const both = lookup([at('none'), at('bin'), at('opt')])
    expect(both.path).toBe(`${at('none')}:${at('bin')}:${at('opt')}`)
    expect(await both.find('tool')).toEqual({ path: at('bin/tool'), program: at('bin/tool') })
    expect(await both.find('only')).toEqual({ path: at('opt/only'), program: at('opt/only') })
    expect(await lookup().find(at('opt/only'))).toEqual({ path: at('opt/only'), program: at('opt/only') })
    expect(nameOf('/usr/bin/gh')).toBe('gh')
  })

  it('should be followed through links, and keep the name that it is called by', async () => {
    await symlink(at('alternatives/view'), at('bin/view'))
    await symlink('../opt/vim.basic', at('alternatives/view'))
    await program(at('opt/vim.basic'))
    const found = await lookup().find('view')
    expect(found).toEqual({ path: at('bin/view'), program: at('opt/vim.basic') })
    expect(await lookup().check(found)).toBeUndefined()
  })

  it('should be passed over when it is none, and found behind it', async () => {
    await writeFile(at('bin/text'), 'x')
    await mkdir(at('bin/directory'))
    await symlink('nowhere', at('bin/dangling'))
    await symlink('loop2', at('bin/loop1'))
    await symlink('loop1', at('bin/loop2'))
    for (const name of ['text', 'directory', 'dangling', 'loop1', 'none', 'tool/x']) {
      await expect(lookup().find(name), name).rejects.toEqual(missing)
      await expect(lookup().find(at('bin', name)), name).rejects.toEqual(missing)
    }
    for (const name of ['text', 'directory', 'dangling', 'loop1']) {
      await program(at('opt', name))
      expect(await lookup([at('bin'), at('opt')]).find(name)).toMatchObject({ program: at('opt', name) })
    }
  })
})

describe('what a loop can write', () => {
  it('should be no directory of the path, wherever the program lies', async () => {
    await mkdir(at('loop/bin'))
    for (const directory of [at('loop'), at('loop/bin'), at('bin/../loop')]) {
      await expect(lookup([at('bin'), directory]).find('tool'), directory).rejects.toEqual(unsafe)
      await expect(lookup([at('bin'), directory]).find(at('bin/tool')), directory).rejects.toEqual(unsafe)
    }
    await symlink(at('loop/bin'), at('opt/link'))
    await expect(lookup([at('bin'), at('opt/link')]).find('tool')).rejects.toEqual(unsafe)
  })

  it('should be no directory of the path that a loop could still make', async () => {
    await expect(lookup([at('bin'), at('loop/later')]).find('tool')).rejects.toEqual(unsafe)
    await symlink(at('loop/later/bin'), at('opt/later'))
    await expect(lookup([at('bin'), at('opt/later')]).find('tool')).rejects.toEqual(unsafe)
    expect(await lookup([at('bin'), at('opt/none')]).find('tool')).toMatchObject({ path: at('bin/tool') })
  })

  it('should not be on the way to a program', async () => {
    await program(at('loop/mine'))
    await symlink(at('loop/mine'), at('bin/direct'))
    await symlink(at('bin/tool'), at('loop/back'))
    await symlink(at('loop/back'), at('bin/around'))
    await symlink('../loop/../bin/tool', at('bin/through'))
    for (const name of ['direct', 'around', 'through']) {
      await expect(lookup().find(name), name).rejects.toEqual(unsafe)
    }
    await expect(lookup().find(at('loop/mine'))).rejects.toEqual(unsafe)
  })

  it('should not be the program itself, by whichever name', async () => {
    await link(at('bin/tool'), at('opt/tool'))
    await expect(lookup([at('bin')], [at('bin/tool')]).find('tool')).rejects.toEqual(unsafe)
    await expect(lookup([at('bin')], [at('opt/tool')]).find('tool')).rejects.toEqual(unsafe)
    await symlink(at('bin'), at('link'))
    await expect(lookup([at('bin')], [at('link')]).find('tool')).rejects.toEqual(unsafe)
  })

  it('should be what everybody can, too', async () => {
    await chmod(at('opt'), 0o777)
    await expect(lookup([at('bin'), at('opt')]).find('tool')).rejects.toEqual(unsafe)
    await chmod(at('opt'), 0o1777)
    await expect(lookup([at('bin'), at('opt')]).find('tool')).rejects.toEqual(unsafe)
    await chmod(at('opt'), 0o755)
    await chmod(at('bin/tool'), 0o777)
    await expect(lookup().find('tool')).rejects.toEqual(unsafe)
  })
})

describe('a program that was granted', () => {
  it('should be the same when it runs', async () => {
    const found = await lookup().find('tool')
    expect(await lookup().check(found)).toBeUndefined()
    await rename(at('bin/tool'), at('opt/tool'))
    expect(await lookup().check(found)).toContain('not there any more')
    await symlink(at('opt/tool'), at('bin/tool'))
    expect(await lookup().check(found)).toContain('any more, as it was when it was granted')
    await rm(at('bin/tool'))
    await symlink(at('loop/tool'), at('bin/tool'))
    await program(at('loop/tool'))
    expect(await lookup().check(found)).toContain('which loops can write')
    await rm(at('bin/tool'))
    await mkdir(at('bin/tool'))
    expect(await lookup().check(found)).toContain('not there any more')
    await rm(at('bin/tool'), { recursive: true })
    // What its user installs in its place, such as a newer one, is the same by name.
    await copyFile(at('opt/tool'), at('bin/tool'))
    expect(await lookup().check(found)).toBeUndefined()
  })

  it('should not run once a loop can write on the way', async () => {
    const found = await lookup().find('tool')
    expect(await lookup([at('bin')], [root]).check(found)).toContain('which loops can write')
    expect(await lookup([at('bin'), at('loop/x')]).check(found)).toContain('which loops can write')
  })
})
