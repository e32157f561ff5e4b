import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { copyPersonal } from '../../../daemon/loop/personal-copy.ts'
import { listenAt } from '../../fixture/hostile-mount.ts'

let root: string
let from: string
let to: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'loopat-personal-'))
  from = join(root, 'ada')
  to = join(root, 'loop', 'context', 'personal')
})
afterEach(() => rm(root, { recursive: true }))

async function put(path: string, content = 'x'): Promise<void> {
  await mkdir(dirname(join(from, path)), { recursive: true })
  await writeFile(join(from, path), content)
}

describe('the personal files of a loop', () => {
  it('should be those of the user without vaults and without what is git', async () => {
    await put('memory/MEMORY.md', 'remember')
    await put('.loopat/config.json', '{}')
    await put('.loopat/vaults/default/envs/TOKEN', 'secret')
    await put('.git/git-crypt/keys/default', 'secret')
    await put('nested/.git/config', 'secret')
    await put('.gitignore', '*.o')
    await copyPersonal(from, to)
    expect((await readdir(to, { recursive: true })).sort()).toEqual([
      '.gitignore',
      '.loopat',
      '.loopat/config.json',
      'memory',
      'memory/MEMORY.md',
      'nested',
    ])
    expect(await readFile(join(to, 'memory/MEMORY.md'), 'utf8')).toBe('remember')
  })

  it('should keep links as they are, and leave special files out', async () => {
    await put('file')
    await writeFile(join(root, 'secret'), 'secret')
    await symlink('../secret', join(from, 'out'))
    await symlink('.loopat/vaults/default/envs', join(from, 'into'))
    const server = await listenAt(join(from, 'socket'))
    await copyPersonal(from, to)
    await new Promise((resolve) => server.close(resolve))
    expect((await readdir(to)).sort()).toEqual(['file', 'into', 'out'])
    expect(await readlink(join(to, 'out'))).toBe('../secret')
    expect(await readlink(join(to, 'into'))).toBe('.loopat/vaults/default/envs')
  })

  it.each([
    ['does not exist', async () => undefined],
    ['is empty', async () => void (await mkdir(from))],
    [
      'holds but vaults and what is git',
      async () => {
        await put('.git/HEAD')
        await put('.loopat/vaults/x/envs/A')
      },
    ],
    [
      'is a link',
      async () => {
        await mkdir(join(root, 'other'))
        await writeFile(join(root, 'other', 'secret'), '')
        await symlink('other', from)
      },
    ],
  ])('should not be there when the directory of the user %s', async (_what, prepare) => {
    await prepare()
    await copyPersonal(from, to)
    await expect(lstat(to)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
