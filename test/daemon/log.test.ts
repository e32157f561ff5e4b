import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { logLevel, openLog } from '../../daemon/log.ts'

describe('log', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-log-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('should write JSON lines to a file that only its owner can read', async () => {
    const path = join(directory, 'log', 'a.log')
    openLog({ path, level: 'info', stderr: false }).child({ room: 'loop' }).info({ loop: 'x' }, 'started')
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({
      level: 'info',
      room: 'loop',
      loop: 'x',
      msg: 'started',
    })
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('should redact secrets in fields, messages, URLs and errors', async () => {
    const path = join(directory, 'b.log')
    const log = openLog({ path, level: 'info', stderr: false })
    const err = new Error('clone of https://me:hunter2@git.example/x failed')
    log.warn(
      { token: 'hunter2', params: { env: { A: 'hunter2' }, stdin: 'hunter2' }, err },
      'ssh://hunter2@git.example/x',
    )
    const text = await readFile(path, 'utf8')
    expect(text).not.toContain('hunter2')
    expect(text).toContain('https://***@git.example/x')
  })

  it('should go on, to standard error, where no file can be written', async () => {
    await writeFile(join(directory, 'file'), '')
    const path = join(directory, 'file', 'a.log')
    const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    try {
      openLog({ path, level: 'info', stderr: false }).info({}, 'still here')
      const text = written.mock.calls.map(([chunk]) => String(chunk)).join('')
      expect(text).toContain(`the log ${path} cannot be written (`)
      expect(text).toContain('still here')
    } finally {
      written.mockRestore()
    }
  })

  it('should set a large file aside', async () => {
    const path = join(directory, 'c.log')
    await writeFile(path, '')
    await truncate(path, 11_000_000)
    openLog({ path, level: 'info', stderr: false }).info({}, 'new')
    expect((await stat(`${path}.1`)).size).toBe(11_000_000)
    expect((await stat(path)).size).toBeLessThan(1_000)
  })

  it('should refuse a level that is none', () => {
    expect(logLevel(undefined)).toBe('info')
    expect(logLevel('DEBUG')).toBe('debug')
    expect(() => logLevel('loud')).toThrow('LOOPAT_LOG_LEVEL is "loud"')
  })
})
