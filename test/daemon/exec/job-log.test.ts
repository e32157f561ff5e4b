import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jobLogs, type ParamsOf } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readLog, wholeCharacters } from '../../../daemon/exec/job-log.ts'
import { systemClock } from '../../../daemon/lib/clock.ts'

const never = new AbortController().signal

describe('reading a log', () => {
  let run: string
  let room: string
  let isDrained: boolean

  beforeEach(async () => {
    run = await mkdtemp(join(tmpdir(), 'loopat-log-'))
    room = join(run, 'job', '0123abcd')
    isDrained = true
    await mkdir(room, { recursive: true })
    await writeFile(join(room, 'stdout.100'), 'abcdefghij')
    await writeFile(join(room, 'stdout.110'), 'klm')
  })
  afterEach(() => rm(run, { recursive: true }))

  const read = (params: Partial<ParamsOf<'job/logs'>> = {}, signal = never) =>
    readLog(
      { place: { run, id: '0123abcd' }, isDrained: async () => isDrained, clock: systemClock },
      jobLogs.params.parse({ loop: 'x', job: '0123abcd', ...params }),
      signal,
    )

  it('should go over all files, from the first byte that is kept', async () => {
    expect(await read()).toEqual({
      data: 'abcdefghijklm',
      offset: 100,
      nextOffset: 113,
      firstOffset: 100,
      endOffset: 113,
      eof: true,
      cut: false,
    })
    expect(await read({ offset: 7, maxBytes: 4 })).toMatchObject({
      data: 'abcd',
      offset: 100,
      nextOffset: 104,
      eof: false,
    })
  })

  it('should tell that the disk had no room for more of it', async () => {
    await writeFile(join(room, 'stdout.cut'), '')
    expect(await read()).toMatchObject({ data: 'abcdefghijklm', cut: true })
    expect(await read({ stream: 'stderr' })).toMatchObject({ data: '', cut: false })
  })

  it.each([
    [{ offset: 108 }, 'ijklm'],
    [{ offset: 108, maxBytes: 4 }, 'ijkl'],
    [{ offset: 112, encoding: 'base64' }, 'bQ=='],
    [{ offset: 113 }, ''],
    [{ tailBytes: 2 }, 'lm'],
    [{ tailBytes: 0 }, ''],
    [{ tailBytes: 999 }, 'abcdefghijklm'],
    [{ stream: 'stderr' }, ''],
  ] as const)('should read with %j', async (params, data) => {
    expect((await read(params)).data).toBe(data)
  })

  it('should refuse an offset beyond the end', async () => {
    await expect(read({ offset: 114 })).rejects.toMatchObject({
      code: 'offset_invalid',
      message: 'offset 114 is beyond the end of stdout, which is 113',
    })
  })

  it('should wait for more, and for the end', async () => {
    isDrained = false
    expect(await read({ offset: 113 })).toMatchObject({ data: '', nextOffset: 113, eof: false })
    const more = read({ offset: 113, waitMs: 10_000 })
    await writeFile(join(room, 'stdout.113'), 'n')
    expect(await more).toMatchObject({ data: 'n', offset: 113, nextOffset: 114, eof: false })
    const end = read({ offset: 114, waitMs: 10_000 })
    isDrained = true
    expect(await end).toMatchObject({ data: '', nextOffset: 114, eof: true })
  })

  it('should stop waiting when it is cancelled', async () => {
    isDrained = false
    const abort = new AbortController()
    const waiting = read({ offset: 113, waitMs: 60_000 }, abort.signal)
    abort.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })

  it('should keep a character whole that is not complete yet', async () => {
    isDrained = false
    await writeFile(join(room, 'stdout.113'), Buffer.from('aé').subarray(0, 2))
    expect(await read({ offset: 113 })).toMatchObject({ data: 'a', nextOffset: 114 })
    await writeFile(join(room, 'stdout.113'), 'aé')
    expect(await read({ offset: 114 })).toMatchObject({ data: 'é', nextOffset: 116 })
  })

  it('should keep characters whole that more of the log follows, also when the job has ended', async () => {
    await writeFile(join(room, 'stdout.113'), 'aé€')
    expect(await read({ offset: 112, maxBytes: 4 })).toMatchObject({ data: 'maé', nextOffset: 116, eof: false })
    expect(await read({ offset: 113, maxBytes: 4 })).toMatchObject({ data: 'aé', nextOffset: 116, eof: false })
    expect(await read({ offset: 116, maxBytes: 4 })).toMatchObject({ data: '€', nextOffset: 119, eof: true })
  })

  it('should leave nothing out at the end of the log of a job that has ended', async () => {
    await writeFile(join(room, 'stdout.113'), Buffer.from('aé').subarray(0, 2))
    expect(await read({ offset: 113 })).toMatchObject({ data: 'a\ufffd', nextOffset: 115, eof: true })
  })

  it('should say when the directory is gone', async () => {
    await rm(join(run, 'job'), { recursive: true })
    await expect(read()).rejects.toMatchObject({ code: 'log_unreadable' })
  })
})

describe('whole characters', () => {
  it.each(['', 'a', 'é', '€', '😀', 'a😀'])('should leave %j as it is', (text) => {
    expect(wholeCharacters(Buffer.from(text)).toString()).toBe(text)
  })

  it.each(['é', '€', '😀'])('should leave out the beginning of %s', (character) => {
    const bytes = Buffer.from(character)
    for (let length = 1; length < bytes.length; length += 1) {
      expect(wholeCharacters(Buffer.concat([Buffer.from('a'), bytes.subarray(0, length)])).toString()).toBe('a')
    }
  })

  it('should leave what is no text as it is', () => {
    const bytes = Buffer.from([0x80, 0x80, 0x80, 0x80])
    expect(wholeCharacters(bytes)).toEqual(bytes)
  })
})
