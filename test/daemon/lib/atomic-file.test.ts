import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTemporaries, writeFileAtomic } from '../../../daemon/lib/atomic-file.ts'

describe('writeFileAtomic', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-atomic-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('should replace a file, privately and without leftovers', async () => {
    const path = join(directory, 'a')
    await writeFile(path, 'old')
    await writeFileAtomic(path, 'new')
    expect(await readFile(path, 'utf8')).toBe('new')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(await readdir(directory)).toEqual(['a'])
  })

  it('should leave what is there alone when it fails', async () => {
    const path = join(directory, 'a', 'below-a-file')
    await expect(writeFileAtomic(path, 'x')).rejects.toThrow('ENOTDIR')
    await expect(writeFileAtomic(directory, 'x')).rejects.toThrow()
    expect((await readdir(directory)).filter((name) => name.includes('tmp'))).toEqual([])
  })

  it('should have its temporary files removed after a crash', async () => {
    const path = join(directory, 'crash')
    await mkdir(path)
    await writeFile(join(path, 'a'), '')
    await writeFile(join(path, 'a.0a1b2c.tmp~'), '')
    await removeTemporaries(path)
    expect(await readdir(path)).toEqual(['a'])
    await rm(path, { recursive: true })
  })

  it('should never show a part of the content', async () => {
    const path = join(directory, 'b')
    const contents = ['x', 'y'].map((letter) => letter.repeat(500_000))
    await writeFileAtomic(path, contents[0] ?? '')
    let writing = true
    const writer = (async () => {
      for (let i = 0; i < 20; i += 1) await writeFileAtomic(path, contents[i % 2] ?? '')
      writing = false
    })()
    while (writing) expect(contents).toContain(await readFile(path, 'utf8'))
    await writer
  })
})
