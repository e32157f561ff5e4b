import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { placeControlFiles } from '../../../daemon/host/control-files.ts'

describe('the files of host commands in a control directory', () => {
  let directory: string
  let control: string
  let forwarder: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-control-'))
    control = join(directory, 'control')
    forwarder = join(directory, 'template')
    await mkdir(control)
    await writeFile(forwarder, '#!/bin/sh\n', { mode: 0o644 })
  })
  afterEach(() => rm(directory, { recursive: true }))

  const place = (...names: string[]) => placeControlFiles(control, { forwarder, names })
  const links = async () => (await readdir(join(control, 'bin'))).sort()
  const program = () => join(control, 'loopat-host')
  const modeOf = async (path: string) => (await stat(path)).mode & 0o777

  it('should be the forwarder, which everybody may run, and links to it', async () => {
    expect(await place('gh', 'adb')).toEqual([])
    expect(await readFile(program(), 'utf8')).toBe('#!/bin/sh\n')
    expect(await modeOf(program())).toBe(0o755)
    expect(await links()).toEqual(['adb', 'gh'])
    expect(await readlink(join(control, 'bin/gh'))).toBe('../loopat-host')
    expect(await readFile(join(control, 'bin/gh'), 'utf8')).toBe('#!/bin/sh\n')
  })

  it('should be there without any name', async () => {
    expect(await place()).toEqual([])
    expect(await links()).toEqual([])
    expect((await readdir(control)).sort()).toEqual(['bin', 'loopat-host'])
  })

  it('should be left alone when they are right', async () => {
    await place('gh')
    const before = await Promise.all([program(), join(control, 'bin')].map((path) => stat(path, { bigint: true })))
    await place('gh')
    const after = await Promise.all([program(), join(control, 'bin')].map((path) => stat(path, { bigint: true })))
    expect(after.map(({ ino, ctimeNs }) => [ino, ctimeNs])).toEqual(before.map(({ ino, ctimeNs }) => [ino, ctimeNs]))
  })

  it('should follow the names', async () => {
    await place('a', 'b')
    await place('b', 'c', 'c')
    expect(await links()).toEqual(['b', 'c'])
    await place()
    expect(await links()).toEqual([])
  })

  it('should be repaired', async () => {
    await mkdir(join(control, 'bin/gh/deep'), { recursive: true })
    await symlink('/etc/passwd', join(control, 'bin/adb'))
    await writeFile(join(control, 'bin/file'), '')
    await writeFile(program(), 'old')
    await chmod(program(), 0o600)
    await place('gh', 'adb', 'file')
    expect(await Promise.all((await links()).map((name) => readlink(join(control, 'bin', name))))).toEqual(
      Array(3).fill('../loopat-host'),
    )
    expect(await readFile(program(), 'utf8')).toBe('#!/bin/sh\n')
    await chmod(program(), 0o700)
    await place()
    expect(await modeOf(program())).toBe(0o755)
  })

  it('should be replaced whole, so that those that run go on', async () => {
    await place()
    const { ino } = await stat(program())
    await writeFile(forwarder, '#!/bin/sh\nnew\n')
    await place()
    expect((await stat(program())).ino).not.toBe(ino)
    expect((await readdir(control)).sort()).toEqual(['bin', 'loopat-host'])
  })

  it('should have no link of a name that is none, and say so', async () => {
    const unfit = ['', '.', '..', '../x', '-x', '.x', 'a b', 'a/b', 'a\nb', 'a\0b', 'loopat-host', 'x'.repeat(256), 'ü']
    expect(await place(...unfit, 'g++', 'x'.repeat(255))).toEqual(unfit.sort())
    expect(await links()).toEqual(['g++', 'x'.repeat(255)])
  })

  it('should not be made where there is no control directory', async () => {
    await rm(control, { recursive: true })
    await expect(place('gh')).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
