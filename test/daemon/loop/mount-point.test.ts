import { lstat, mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { PlannedMount } from '../../../daemon/loop/loop-mount.ts'
import { prepareMountPoints } from '../../../daemon/loop/mount-point.ts'

let root: string
let home: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'loopat-point-'))
  home = join(root, 'home')
  await mkdir(home)
})
afterEach(() => rm(root, { recursive: true }))

const mount = (target: string, more: Partial<PlannedMount> = {}): PlannedMount => ({
  row: 12,
  source: '/',
  target,
  readOnly: true,
  origin: 'loop',
  kind: 'directory',
  ...more,
})
const prepare = (...targets: (string | PlannedMount)[]) =>
  prepareMountPoints([
    mount('/home/loopat', { source: home }),
    ...targets.map((target) => (typeof target === 'string' ? mount(`/home/loopat/${target}`) : target)),
  ])
const file = (target: string) => mount(`/home/loopat/${target}`, { kind: 'file' })

describe('the points of mounts inside other mounts', () => {
  it('should be made as the user, with what leads there', async () => {
    await prepare('.config/tool/deep', file('.config/tool/rc'), file('.netrc'))
    expect((await readdir(home, { recursive: true })).sort()).toEqual([
      '.config',
      '.config/tool',
      '.config/tool/deep',
      '.config/tool/rc',
      '.netrc',
    ])
    expect((await lstat(join(home, '.netrc'))).isFile()).toBe(true)
    expect((await lstat(join(home, '.config'))).uid).toBe(process.getuid?.())
  })

  it('should stay what they are when they are there', async () => {
    await mkdir(join(home, 'there'))
    await writeFile(join(home, 'there', 'file'), 'kept')
    await prepare('there', file('there/file'))
    expect((await lstat(join(home, 'there', 'file'))).size).toBe(4)
  })

  it('should never be made through a link', async () => {
    const aim = join(root, 'aim')
    await mkdir(aim)
    await symlink('../aim', join(home, 'link'))
    await symlink(aim, join(home, '.ssh'))
    await symlink(join(aim, 'new'), join(home, 'dangling'))
    await prepare('link/point', '.ssh', '.ssh/keys', 'dangling/x', file('link/file'), file('dangling'), 'link/a/b')
    expect(await readdir(aim)).toEqual([])
    expect(await readlink(join(home, 'dangling'))).toBe(join(aim, 'new'))
  })

  it('should be left to the runtime where a file is in the way, or writing is forbidden', async () => {
    await writeFile(join(home, 'file'), '')
    await mkdir(join(home, 'closed'), { mode: 0o500 })
    await prepare('file/point', 'closed/point/deep')
    expect((await lstat(join(home, 'file'))).isFile()).toBe(true)
    await rm(join(home, 'closed'), { recursive: true })
  })

  it('should not be made outside of mounts', async () => {
    await prepare(mount('/data'), mount('/home/loopatx/y'))
    expect(await readdir(home)).toEqual([])
  })

  it('should be made in the innermost mount', async () => {
    const inner = join(root, 'inner')
    await mkdir(inner)
    await prepare(mount('/home/loopat/data', { source: inner }), mount('/home/loopat/data/x/y'))
    expect(await readdir(inner, { recursive: true })).toEqual(['x', 'x/y'])
    expect(await readdir(join(home, 'data'))).toEqual([])
  })
})
