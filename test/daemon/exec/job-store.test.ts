import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { infoOf, parseRecord, shortCommand } from '../../../daemon/exec/job-record.ts'
import { JobStore } from '../../../daemon/exec/job-store.ts'
import { jobRecord } from './job-kit.ts'

describe('records of jobs', () => {
  let loops: string
  let store: JobStore

  beforeEach(async () => {
    loops = await mkdtemp(join(tmpdir(), 'loopat-jobs-'))
    store = new JobStore((loop) => join(loops, loop, 'jobs'))
    await mkdir(join(loops, 'loop'))
    await store.prepare('loop')
  })
  afterEach(() => rm(loops, { recursive: true }))

  it('should be written, listed with the newest first, and removed', async () => {
    const old = jobRecord({ id: '00000001' })
    const young = jobRecord({ id: '00000002', startedAt: '2026-02-01T00:00:00.000Z', cwd: '/tmp' })
    await store.prepare('loop')
    expect([await store.write(old), await store.write(young)]).toEqual([true, true])
    expect(await store.list('loop')).toEqual([young, old])
    expect(await store.count('loop')).toBe(2)
    expect(await store.read('loop', '00000002')).toEqual(young)
    await store.remove('loop', '00000002')
    await store.remove('loop', '00000002')
    expect(await store.read('loop', '00000002')).toBe(undefined)
  })

  it('should not bring a loop back that is gone', async () => {
    await rm(join(loops, 'loop'), { recursive: true })
    expect(await store.write(jobRecord())).toBe(false)
    expect(await store.list('loop')).toEqual([])
    await expect(store.prepare('loop')).rejects.toMatchObject({ code: 'storage_failed' })
  })

  it('should be left out when they cannot be read, or are of another job', async () => {
    const directory = join(loops, 'loop', 'jobs')
    await writeFile(join(directory, '00000001.json'), '{"version":1')
    await writeFile(join(directory, '00000002.json'), '{}')
    await writeFile(join(directory, '00000003.json'), JSON.stringify(jobRecord({ id: '00000004' })))
    await writeFile(join(directory, 'other.json'), JSON.stringify(jobRecord()))
    expect(await store.list('loop')).toEqual([])
  })

  it('should lose what a crash left half-written', async () => {
    await writeFile(join(loops, 'loop', 'jobs', '00000001.json.abc.tmp~'), '{')
    await store.recover('loop')
    await store.recover('none')
    expect(await readdir(join(loops, 'loop', 'jobs'))).toEqual([])
  })
})

describe('a record', () => {
  it('should show clients what concerns them', () => {
    expect(infoOf(jobRecord())).toEqual({
      id: '0123abcd',
      loop: 'loop',
      command: ['make'],
      cwd: null,
      state: 'running',
      exitCode: null,
      reason: null,
      keepalive: true,
      maxLogBytes: 65_536,
      startedAt: '2026-01-01T00:00:00.000Z',
      endedAt: null,
    })
  })

  it('should be refused with anything wrong', () => {
    for (const change of [{ exitCode: 256 }, { state: 'done' }, { version: 2 }, { id: '../../x' }]) {
      expect(parseRecord(JSON.stringify({ ...jobRecord(), ...change }))).toBe(undefined)
    }
  })

  it('should hold the beginning of a long command', () => {
    expect(shortCommand(['a', 'b c'])).toEqual(['a', 'b c'])
    expect(shortCommand(['a', 'x'.repeat(5000), 'b'])).toEqual(['a', `${'x'.repeat(4095)}…`])
    expect(shortCommand(Array.from({ length: 4096 }, () => '')).length).toBeLessThan(1100)
  })
})
