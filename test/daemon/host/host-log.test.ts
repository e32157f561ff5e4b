import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HostLogEntry } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HostLog } from '../../../daemon/host/host-log.ts'
import { turns } from './kit.ts'

let directory = ''
let path = ''

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'loopat-host-log-'))
  path = join(directory, 'log/host.log')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

function entry(word: string, loop = 'a'): HostLogEntry {
  return {
    ...{ time: '2030-01-01T00:00:00.000Z', event: 'start', session: 's', loop, argv: [word], cwd: null, rule: 'r' },
    ...{ code: null, reason: null, durationMs: null, bytesIn: null, bytesOut: null, count: null },
  }
}

const words = (log: HostLog, fields: { after?: number; limit?: number; loop?: string } = {}) => {
  const { entries, next } = log.read({ after: fields.after, limit: fields.limit ?? 100, loop: fields.loop })
  return [entries.map(({ argv }) => argv[0]).join(' '), next]
}

function filled(...names: string[]): HostLog {
  const log = new HostLog(path)
  for (const name of names) log.append(entry(name, name.toUpperCase() === name ? 'b' : 'a'))
  return log
}

describe('HostLog', () => {
  it('should tell the last entries, or those behind one', () => {
    const log = filled('a', 'b', 'C', 'd', 'E')
    expect(words(log)).toEqual(['a b C d E', 5])
    expect(words(log, { limit: 2 })).toEqual(['d E', 5])
    expect(words(log, { after: 0, limit: 2 })).toEqual(['a b', 2])
    expect(words(log, { after: 2, limit: 2 })).toEqual(['C d', 4])
    expect(words(log, { after: 4, limit: 2 })).toEqual(['E', 5])
    expect(words(log, { after: 5 })).toEqual(['', 5])
    // From a log that is gone.
    expect(words(log, { after: 99 })).toEqual(['', 5])
  })

  it('should tell of one loop', () => {
    const log = filled('a', 'b', 'C', 'd', 'E')
    expect(words(log, { loop: 'b' })).toEqual(['C E', 5])
    expect(words(log, { loop: 'b', limit: 1 })).toEqual(['E', 5])
    expect(words(log, { loop: 'b', after: 0, limit: 1 })).toEqual(['C', 3])
    expect(words(log, { loop: 'b', after: 3, limit: 1 })).toEqual(['E', 5])
    expect(words(log, { loop: 'x', after: 0 })).toEqual(['', 5])
  })

  it('should be empty at first, and for its user alone', async () => {
    const log = new HostLog(path)
    expect(words(log)).toEqual(['', 0])
    log.append(entry('a'))
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ n: 1, ...entry('a') })
  })

  it('should go on where the last one ended', () => {
    filled('a', 'b')
    const log = filled('c')
    expect(words(log)).toEqual(['a b c', 3])
    expect(words(log, { after: 1 })).toEqual(['b c', 3])
    expect(words(new HostLog(path), { after: 0, limit: 2 })).toEqual(['a b', 2])
  })

  it('should pass over a line that a crash cut off, and keep the next one apart', async () => {
    filled('a', 'b')
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.slice(0, -9))
    expect(words(filled('c'))).toEqual(['a c', 2])
    expect(words(new HostLog(path))).toEqual(['a c', 2])
  })

  it('should pass over lines that are no entries', async () => {
    filled('a')
    await writeFile(path, `\n{}\nnull\n[]\n"x"\n{"n":"9"}\n{"n":7,"event":"x"}\n`, { flag: 'a' })
    expect(words(filled('b'))).toEqual(['a b', 2])
  })

  it('should set full files aside, and keep some of them', () => {
    const log = new HostLog(path, 500)
    for (let count = 1; count <= 30; count += 1) log.append(entry(`w${count}`))
    expect([1, 5, 6].map((number) => existsSync(`${path}.${number}`))).toEqual([true, true, false])
    const [all, next] = words(new HostLog(path))
    expect([String(all).split(' ').at(-1), next]).toEqual(['w30', 30])
    const [first = ''] = String(all).split(' ')
    const number = Number(first.slice(1))
    expect(number).toBeGreaterThan(5)
    expect(words(new HostLog(path), { after: 0, limit: 2 })).toEqual([`w${number} w${number + 1}`, number + 1])
    // Nothing is missing in between.
    expect(String(all).split(' ')).toEqual(Array.from({ length: 31 - number }, (_, index) => `w${number + index}`))
    expect(words(new HostLog(path), { limit: 4 })).toEqual(['w27 w28 w29 w30', 30])
  })

  it('should go on counting when the file was just set aside', async () => {
    filled('a', 'b')
    await rename(path, `${path}.3`)
    expect(words(filled('c'))).toEqual(['a b c', 3])
  })

  it('should say when it cannot be written or read, and go on when it can', async () => {
    await mkdir(path, { recursive: true })
    const log = new HostLog(path)
    expect(() => log.append(entry('a'))).toThrow(expect.objectContaining({ code: 'storage_failed' }))
    expect(() => words(log)).toThrow(expect.objectContaining({ code: 'storage_failed' }))
    await rm(path, { recursive: true })
    log.append(entry('b'))
    expect(words(log)).toEqual(['b', 1])
  })

  it('should begin anew behind what a full disk cut off', async () => {
    const log = filled('a')
    const text = await readFile(path, 'utf8')
    await rm(path)
    await symlink('/dev/full', path)
    expect(() => log.append(entry('b'))).toThrow(expect.objectContaining({ code: 'storage_failed' }))
    await rm(path)
    await writeFile(path, `${text}{"n":2,"time":"20`)
    log.append(entry('c'))
    expect(words(new HostLog(path))).toEqual(['a c', 2])
    expect(words(log, { after: 1 })).toEqual(['c', 2])
  })

  it('should wake those who follow', async () => {
    const log = filled('a')
    const woken: string[] = []
    const [one, two] = [new AbortController(), new AbortController()]
    const waits = [
      log.more(one.signal).then(() => woken.push('one')),
      log.more(two.signal).then(() => woken.push('two')),
    ]
    await log.more(AbortSignal.abort())
    two.abort()
    await turns()
    expect(woken).toEqual(['two'])
    log.append(entry('b'))
    await Promise.all(waits)
    expect(woken).toEqual(['two', 'one'])
  })

  it('should tell followers of more than it holds', () => {
    const log = new HostLog(path)
    for (let count = 0; count < 2100; count += 1) log.append(entry(String(count)))
    expect(words(log, { after: 50, limit: 2 })).toEqual(['50 51', 52])
    expect(words(log, { after: 2098 })).toEqual(['2098 2099', 2100])
    expect(log.read({ after: undefined, limit: 2050, loop: undefined }).entries).toHaveLength(2050)
  })
})
