import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { IdleFiles } from '../../../daemon/idle/idle-file.ts'
import type { IdleRecord } from '../../../daemon/idle/idle-record.ts'
import { IdleStore } from '../../../daemon/idle/idle-store.ts'
import { type LogLine, memoryLog } from '../loop/kit.ts'
import { ManualClock } from './manual-clock.ts'

const activity = (isHeld: boolean, what = 'exec: x') => ({
  at: '2030-01-01T00:00:00.000Z',
  what,
  boot: 'b1',
  awakeMs: 1,
  isHeld,
})

/** Files in memory that count writes. */
class MemoryFiles {
  readonly writes: { id: string; record: IdleRecord; isDurable: boolean }[] = []
  failure: Error | undefined

  readAll(): Promise<Map<string, IdleRecord>> {
    return Promise.resolve(new Map([['old', { after: 5000, activity: activity(true) }]]))
  }

  async write(id: string, record: IdleRecord, isDurable: boolean): Promise<boolean> {
    if (this.failure !== undefined) throw this.failure
    this.writes.push({ id, record, isDurable })
    return true
  }
}

describe('IdleStore', () => {
  const clock = new ManualClock()
  const lines: LogLine[] = []
  let files: MemoryFiles
  let store: IdleStore

  const full = () => Object.assign(new Error('no space'), { code: 'ENOSPC', syscall: 'write' })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let turns = 0; turns < 5; turns += 1) await turn()
  }

  beforeEach(async () => {
    files = new MemoryFiles()
    store = new IdleStore({ files, clock, log: memoryLog(lines) })
    await store.load()
  })
  afterEach(() => store[Symbol.asyncDispose]())

  it('should know what was written before', () => {
    expect(store.ids()).toEqual(['old'])
    expect(store.get('old')).toMatchObject({ after: 5000 })
    expect(store.get('new')).toEqual({})
  })

  it('should write settings at once and for good', async () => {
    await store.change('a', (record) => ({ ...record, after: 'never' }))
    expect(files.writes).toEqual([{ id: 'a', record: { after: 'never' }, isDurable: true }])
  })

  it('should keep what was when settings cannot be written', async () => {
    await store.change('a', () => ({ after: 1000 }))
    files.failure = full()
    await expect(store.change('a', () => ({ after: 2000 }))).rejects.toMatchObject({ code: 'storage_failed' })
    expect(store.get('a')).toEqual({ after: 1000 })
  })

  it('should write two times for a hundred uses one after the other', async () => {
    for (let use = 0; use < 100; use += 1) {
      store.note('a', activity(true, `exec: ${use}`))
      await pass(10)
      store.note('a', activity(false, `exec: ${use}`))
    }
    await pass(5000)
    expect(files.writes.map(({ record }) => record.activity)).toEqual([
      activity(true, 'exec: 0'),
      activity(false, 'exec: 99'),
    ])
    expect(files.writes.every(({ isDurable }) => !isDurable)).toBe(true)
  })

  it('should write what waits when it ends', async () => {
    store.note('a', activity(false))
    await store[Symbol.asyncDispose]()
    expect(files.writes).toMatchObject([{ id: 'a', record: { activity: { isHeld: false } } }])
    expect(clock.sleeping).toBe(0)
  })

  it('should log that activity cannot be written, and go on', async () => {
    files.failure = full()
    store.note('a', activity(true))
    await pass(0)
    expect(lines).toMatchObject([{ level: 'warn', fields: { loop: 'a' } }])
    expect(store.get('a').activity?.what).toBe('exec: x')
  })
})

describe('IdleFiles', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-idle-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('should read what it wrote, and nothing else', async () => {
    const files = new IdleFiles(directory)
    for (const name of ['a', 'b', 'link', 'broken', 'big', '.hidden']) await mkdir(join(directory, name))
    expect(await files.write('a', { after: 1000 }, true)).toBe(true)
    expect(await files.write('b', { after: 'never' }, false)).toBe(true)
    await symlink(join(directory, 'a', 'idle.json'), join(directory, 'link', 'idle.json'))
    await writeFile(join(directory, 'broken', 'idle.json'), '{')
    await writeFile(join(directory, 'big', 'idle.json'), ' '.repeat(300_000))
    await writeFile(join(directory, '.hidden', 'idle.json'), await readFile(join(directory, 'a', 'idle.json')))
    await writeFile(join(directory, 'stray'), '')
    expect(await files.readAll()).toEqual(
      new Map<string, IdleRecord>([
        ['a', { after: 1000 }],
        ['b', { after: 'never' }],
      ]),
    )
    expect(await readdir(join(directory, 'a'))).toEqual(['idle.json'])
  })

  it('should say that a loop is gone', async () => {
    const files = new IdleFiles(directory)
    expect(await files.write('gone', {}, true)).toBe(false)
    expect(await readdir(directory)).toEqual([])
  })

  it('should know no loop where there is no directory', async () => {
    expect(await new IdleFiles(join(directory, 'none')).readAll()).toEqual(new Map())
  })
})
