import { renameSync } from 'node:fs'
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { followLines, lastLines } from '../../../client/cli/log-file.ts'

describe('the end of a log', () => {
  let directory: string
  let path: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'log-'))
    path = join(directory, 'x.log')
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('should be its last lines, whatever the size of the file', async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `line ${n} ${'ü'.repeat(n % 50)}`)
    await writeFile(path, `${lines.join('\n')}\n`)
    expect((await lastLines(path, 5_000)).lines).toEqual(lines.slice(-5_000))
    expect((await lastLines(path, 99_999)).lines).toEqual(lines)
    expect((await lastLines(path, 0)).lines).toEqual([])
  })

  it('should leave out a line that is being written', async () => {
    await writeFile(path, 'one\ntwo\nthr')
    expect((await lastLines(path, 9)).lines).toEqual(['one', 'two'])
  })

  it('should be nothing for an empty file', async () => {
    await writeFile(path, '')
    expect((await lastLines(path, 9)).lines).toEqual([])
  })

  it('should say so when there is no file', async () => {
    await expect(lastLines(path, 9)).rejects.toMatchObject({
      code: 'daemon_unreachable',
      message: expect.stringContaining(path),
    })
  })

  it('should be followed, also into a new file of the same name', async () => {
    await writeFile(path, 'one\ntw')
    const from = await lastLines(path, 9)
    const seen: string[] = []
    const controller = new AbortController()
    const following = followLines(path, { from, onLine: (line) => seen.push(line) }, controller.signal)
    await appendFile(path, 'o\nthree\n')
    await vi.waitFor(() => expect(seen).toEqual(['two', 'three']), 5_000)
    await writeFile(`${path}.new`, 'four\n')
    renameSync(path, `${path}.1`)
    renameSync(`${path}.new`, path)
    await vi.waitFor(() => expect(seen).toEqual(['two', 'three', 'four']), 5_000)
    controller.abort(new Error('enough'))
    await expect(following).rejects.toThrow('enough')
  })

  it('should be followed when the file is away for a while, as at a rotation', async () => {
    await writeFile(path, 'one\n')
    const from = await lastLines(path, 9)
    const seen: string[] = []
    const controller = new AbortController()
    const following = followLines(path, { from, onLine: (line) => seen.push(line) }, controller.signal)
    // It is not there at two looks at least.
    renameSync(path, `${path}.1`)
    await Promise.race([following, sleep(600)])
    await writeFile(path, 'two\n')
    await vi.waitFor(() => expect(seen).toEqual(['two']), 5_000)
    controller.abort(new Error('enough'))
    await expect(following).rejects.toThrow('enough')
  })
})
