import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MAX_GRANTS } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Grant, type GrantRecord, patternOf, toGrant } from '../../../daemon/host/grant.ts'
import { GrantBook, type GrantScope } from '../../../daemon/host/grant-book.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { turns } from './kit.ts'

let home = ''
let clock = new ManualClock()
let expired: string[] = []
const books: GrantBook[] = []

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'loopat-grants-'))
  await mkdir(join(home, 'loops/a'), { recursive: true })
  await mkdir(join(home, 'loops/b'))
  clock = new ManualClock()
  expired = []
})
afterEach(async () => {
  for (const book of books.splice(0)) book[Symbol.dispose]()
  await rm(home, { recursive: true, force: true })
})

function open(): GrantBook {
  const began = clock.now().getTime()
  const onExpired = () => expired.push(`${clock.now().getTime() - began}`)
  const book = new GrantBook({ home, loops: join(home, 'loops'), clock, onExpired })
  books.push(book)
  return book
}

function draft(pattern: string, forMs?: number): Omit<GrantRecord, 'id' | 'createdAt'> {
  const ends = forMs === undefined ? {} : { expiresAt: new Date(clock.now().getTime() + forMs).toISOString() }
  return { pattern, decision: 'deny', fullAccess: false, env: {}, passEnv: [], ...ends }
}

const file = (scope: GrantScope) => (scope === null ? join(home, 'host.json') : join(home, 'loops', scope, 'host.json'))
const patterns = (grants: readonly Grant[]) => grants.map(patternOf)
const of = async (book: GrantBook, id = 'a') => patterns(await book.of({ id, name: `name-${id}` }))

/** Lets time pass, in steps that leave room for what wakes. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 10_000) {
    clock.advance(Math.min(left, 10_000))
    await turns()
  }
}

describe('the order of grants', () => {
  it('should be: of the loop, of the configuration for it, of the workspace, of the configuration', async () => {
    const book = open()
    const config = (pattern: string, loop?: string) => ({
      grant: toGrant(
        { ...draft(pattern), id: '00000000', createdAt: clock.now().toISOString() },
        { origin: 'config', loop: null },
      ),
      loop,
    })
    book.configure([config('c1'), config('c2', 'a'), config('c3', 'name-a'), config('c4', 'b'), config('c5')])
    await book.add('a', draft('l1'))
    await book.add(null, draft('w1'))
    await book.add('a', draft('l2'))
    await book.add(null, draft('w2'))
    await book.add('b', draft('other'))
    expect(await of(book)).toEqual(['l2', 'l1', 'c2', 'c3', 'w2', 'w1', 'c1', 'c5'])
    expect(await of(book, 'b')).toEqual(['other', 'c4', 'w2', 'w1', 'c1', 'c5'])
    expect(patterns(await book.all(['a', 'b']))).toEqual([
      ...['l2', 'l1', 'other', 'w2', 'w1'],
      ...['c1', 'c2', 'c3', 'c4', 'c5'],
    ])
    expect((await book.of({ id: 'a', name: 'x' })).map(({ loop }) => loop).slice(0, 4)).toEqual(['a', 'a', 'a', null])
  })

  it('should have a grant take the place of one of the same pattern, and be kept', async () => {
    const book = open()
    const old = await book.add('a', draft('x *'))
    await book.add('a', draft('y'))
    const fresh = await book.add('a', { ...draft('x *'), env: { A: '1' } })
    expect(fresh.record.id).not.toBe(old.record.id)
    expect(await of(book)).toEqual(['x *', 'y'])
    await book.add(null, draft('x *'))
    expect(await of(open())).toEqual(['x *', 'y', 'x *'])
    expect((await open().of({ id: 'a', name: 'a' }))[0]).toEqual(fresh)
  })

  it('should survive many changes at once', async () => {
    const book = open()
    const names = Array.from({ length: 40 }, (_, index) => `n${index}`)
    const reading = names.map(() => of(book))
    await Promise.all(names.map((name) => book.add('a', draft(name))))
    await Promise.all(reading)
    expect(await of(book)).toEqual(names.toReversed())
    await Promise.all(names.slice(1).map((name) => book.remove('a', name)))
    expect(await of(book)).toEqual(['n0'])
    expect(await of(open())).toEqual(['n0'])
  })

  it('should hold no more than so many', async () => {
    const book = open()
    const records = Array.from({ length: MAX_GRANTS }, (_, index) => ({
      ...draft(`n${index}`),
      id: index.toString(16).padStart(8, '0'),
      createdAt: clock.now().toISOString(),
    }))
    await writeFile(file('a'), JSON.stringify({ version: 1, grants: records }))
    await expect(book.add('a', draft('more'))).rejects.toMatchObject({ code: 'too_many_grants' })
    await book.add('a', draft('n7'))
    expect(await of(book)).toHaveLength(MAX_GRANTS)
  })

  it('should hold no more bytes than it reads', async () => {
    const book = open()
    const env = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`V${index}`, 'x'.repeat(120_000)]))
    await book.add('a', { ...draft('one'), env })
    await expect(book.add('a', { ...draft('two'), env })).rejects.toMatchObject({ code: 'too_many_grants' })
    expect(await of(book)).toEqual(['one'])
    await book.add('a', draft('three'))
  })
})

describe('taking grants back', () => {
  it('should go by id, by pattern, or for all', async () => {
    const book = open()
    const one = await book.add('a', draft('one'))
    await book.add('a', draft('two *'))
    await book.add('a', draft('three'))
    expect(patterns(await book.remove('a', one.record.id))).toEqual(['one'])
    expect(patterns(await book.remove('a', ' two * '))).toEqual(['two *'])
    await expect(book.remove('a', 'two')).rejects.toMatchObject({ code: 'grant_not_found' })
    await expect(book.remove(null, 'three')).rejects.toMatchObject({ code: 'grant_not_found' })
    expect(patterns(await book.remove('a', undefined))).toEqual(['three'])
    expect(await book.remove('a', undefined)).toEqual([])
    expect(await of(open())).toEqual([])
  })
})

describe('the end of a grant', () => {
  it('should be told in time, also of one that is added later and ends sooner', async () => {
    const book = open()
    await book.add('a', draft('late', 100_000))
    await pass(5_000)
    await book.add('b', draft('soon', 10_000))
    await book.add(null, draft('between', 40_000))
    expect(await of(book)).toEqual(['late', 'between'])
    await pass(10_000)
    expect(expired).toEqual(['15000'])
    expect(await of(book, 'b')).toEqual(['between'])
    await pass(30_000)
    expect(expired).toEqual(['15000', '45000'])
    await pass(60_000)
    expect(expired).toEqual(['15000', '45000', '105000'])
    expect(clock.sleeping).toBe(0)
    await book.add('a', draft('again', 1_000))
    await pass(1_000)
    expect(expired).toHaveLength(4)
    expect(clock.sleeping).toBe(0)
  })

  it('should be told of grants that are found at a start', async () => {
    await open().add('a', draft('x', 20_000))
    const book = open()
    await of(book)
    expired = []
    await pass(20_000)
    expect(expired).toHaveLength(2)
  })

  it('should be told soon after the clock was set forward', async () => {
    const book = open()
    await book.add('a', draft('x', 3_600_000))
    clock.jump(3_600_000)
    expect(await of(book)).toEqual([])
    await pass(30_000)
    expect(expired).toHaveLength(1)
  })

  it('should be told again after the clock was set back', async () => {
    const book = open()
    await book.add('a', draft('x', 60_000))
    await book.add('a', draft('far', 86_400_000))
    await pass(60_000)
    expect(expired).toHaveLength(1)
    clock.jump(-50_000)
    await book.add('b', draft('y', 5_000))
    await pass(5_000)
    expect(expired).toHaveLength(2)
    expect(await of(book)).toEqual(['far', 'x'])
    await pass(50_000)
    expect(expired).toHaveLength(3)
    expect(await of(book)).toEqual(['far'])
  })

  it('should be told no more once the book is closed, and what has ended is not kept', async () => {
    const book = open()
    await book.add('a', draft('x', 1_000))
    book[Symbol.dispose]()
    await pass(60_000)
    expect([expired, clock.sleeping]).toEqual([[], 0])
    await book.add('a', draft('y'))
    expect(await readFile(file('a'), 'utf8')).not.toContain('"x"')
  })
})

const NONSENSE: readonly [string, string, string][] = [
  ['no JSON', '{', 'is not JSON'],
  ['nothing', '', 'is not JSON'],
  ['another version', '{"version":2,"grants":[]}', 'version'],
  ['an unknown key', '{"version":1,"grants":[],"x":1}', 'no file of grants'],
  ['a bad pattern', '{"version":1,"grants":[GRANT]}', 'cannot be used'],
  ['no list', '{"version":1,"grants":{}}', 'grants'],
]

describe('a file that its user edits', () => {
  it('should count as it is now', async () => {
    const book = open()
    await book.add('a', draft('one'))
    await book.add('a', draft('two'))
    const text = await readFile(file('a'), 'utf8')
    await writeFile(file('a'), text.replace('"two"', '"2nd"'))
    // Not even a time that is set back hides that.
    await utimes(file('a'), 1, 1)
    expect(await of(book)).toEqual(['2nd', 'one'])
    await rm(file('a'))
    expect(await of(book)).toEqual([])
  })

  it.each(NONSENSE)('should leave what it said before in force while it is %s', async (_what, text, why) => {
    const book = open()
    const { record } = await book.add('a', draft('one'))
    const good = await readFile(file('a'), 'utf8')
    const bad = text.replace('GRANT', JSON.stringify({ ...record, pattern: "x '" }))
    await writeFile(file('a'), bad)
    expect(await of(book)).toEqual(['one'])
    expect(book.faults()).toEqual([{ file: file('a'), message: expect.stringContaining(why) }])
    await expect(book.add('a', draft('two'))).rejects.toMatchObject({ code: 'storage_failed' })
    await expect(book.remove('a', undefined)).rejects.toMatchObject({ code: 'storage_failed' })
    expect(await readFile(file('a'), 'utf8')).toBe(bad)
    expect(await of(open())).toEqual([])
    await writeFile(file('a'), good)
    expect(await of(book)).toEqual(['one'])
    expect(book.faults()).toEqual([])
    await book.add('a', draft('two'))
  })

  it('should not be a link, a pipe or a directory', async () => {
    const book = open()
    await book.add('a', draft('one'))
    const makes: readonly (() => unknown)[] = [
      async () => {
        await writeFile(join(home, 'elsewhere'), '{"version":1,"grants":[]}')
        await symlink(join(home, 'elsewhere'), file('a'))
      },
      () => execFileSync('mkfifo', [file('a')]),
      () => mkdir(file('a')),
    ]
    for (const make of makes) {
      await rm(file('a'), { recursive: true })
      await make()
      expect(await of(book)).toEqual(['one'])
      expect(book.faults()).toHaveLength(1)
      await expect(book.add('a', draft('two'))).rejects.toMatchObject({ code: 'storage_failed' })
    }
  })

  it('should say when it cannot be stored', async () => {
    const book = open()
    await rm(join(home, 'loops/a'), { recursive: true })
    await expect(book.add('a', draft('one'))).rejects.toMatchObject({ code: 'storage_failed' })
    expect(await of(book)).toEqual([])
    book.forget('a')
    expect(book.faults()).toEqual([])
  })
})
