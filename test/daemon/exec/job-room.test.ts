import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  joined,
  lookAtJob,
  lookAtLog,
  offsetsIn,
  readSegment,
  removeRoom,
  sightOf,
} from '../../../daemon/exec/job-room.ts'

describe('names in the directory of a job', () => {
  it('should tell what its program knows', () => {
    expect(sightOf(['session.12', 'running', 'stdout.0'])).toMatchObject({ session: 12, exitCode: undefined })
    expect(sightOf(['session.12', 'exit.0', 'complete'])).toMatchObject({ exitCode: 0, isComplete: true })
    expect(sightOf(['exit.255']).exitCode).toBe(255)
  })

  it.each([
    [['exit.256']],
    [['exit.-1']],
    [['exit.']],
    [['exit.01']],
    [['exit.1 ']],
    [['exit.0\n']],
    [['exit.1', 'exit.2']],
  ])('should not be believed as an end: %j', (names) => {
    const sight = sightOf(names)
    expect(sight.exitCode).toBe(undefined)
    expect(sight.strange).toBe('the record of its end is nonsense')
  })

  it.each([[['session.0']], [['session.x']], [['session.99999999999']], [['session.1', 'session.2']]])(
    'should not be believed as a session: %j',
    (names) => {
      expect(sightOf(names).session).toBe(undefined)
    },
  )

  it('should give the files of a log in order, and nothing else', () => {
    const names = [
      'stdout.100',
      'stdout.20',
      'stderr.7',
      'stdout.99999999999999999999',
      'stdout.-1',
      'stdout.01',
      'stdout',
    ]
    expect(offsetsIn(names, 'stdout')).toEqual([20, 100])
    expect(offsetsIn(names, 'stderr')).toEqual([7])
  })

  it('should give the part of a log that has no hole', () => {
    const [a, b, c] = [
      { offset: 10, size: 5 },
      { offset: 15, size: 5 },
      { offset: 21, size: 5 },
    ]
    expect(joined([a, b])).toEqual([a, b])
    expect(joined([a, b, c])).toEqual([c])
    expect(joined([a, { offset: 15, size: Number.MAX_SAFE_INTEGER }])).toEqual([a])
  })
})

describe('the directory of a job', () => {
  let root: string
  let room: string
  const id = '0123abcd'

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'loopat-room-'))
    room = join(root, 'run', 'job', id)
    await mkdir(room, { recursive: true })
    await mkdir(join(root, 'outside'))
    await writeFile(join(root, 'outside', 'stdout.0'), 'secret')
    await writeFile(join(root, 'outside', 'exit.0'), '')
  })
  afterEach(() => rm(root, { recursive: true, force: true }))

  const place = () => ({ run: join(root, 'run'), id })
  const read = (offset = 0, length = 100) => readSegment(place(), { stream: 'stdout', offset }, { position: 0, length })
  const descriptors = () => readdirSync('/proc/self/fd').length

  it('should give its end with the time of it, and its logs', async () => {
    await writeFile(join(room, 'exit.3'), 'nonsense that nobody reads')
    await writeFile(join(room, 'stdout.0'), 'hello')
    await writeFile(join(room, 'stdout.5'), 'more')
    const sight = await lookAtJob(place())
    expect(sight?.exit?.code).toBe(3)
    expect(Math.abs(Date.now() - (sight?.exit?.at.getTime() ?? 0))).toBeLessThan(60_000)
    expect((await lookAtLog(place(), 'stdout'))?.segments).toEqual([
      { offset: 0, size: 5 },
      { offset: 5, size: 4 },
    ])
    expect((await read(5))?.toString()).toBe('more')
    expect((await readSegment(place(), { stream: 'stdout', offset: 0 }, { position: 1, length: 3 }))?.toString()).toBe(
      'ell',
    )
  })

  it.each([
    [
      'the directory',
      async () => {
        await rm(room, { recursive: true })
        await symlink(join(root, 'outside'), room)
      },
    ],
    [
      'the directory of all jobs',
      async () => {
        await rename(join(root, 'run', 'job'), join(root, 'moved'))
        await mkdir(join(root, 'outside', id))
        await symlink(join(root, 'outside'), join(root, 'run', 'job'))
      },
    ],
    [
      '/loopat/run itself',
      async () => {
        await rename(join(root, 'run'), join(root, 'moved'))
        await symlink(join(root, 'moved'), join(root, 'run'))
      },
    ],
  ])('should not be looked for over a link in place of %s', async (_what, plant) => {
    await plant()
    expect(await lookAtJob(place())).toBe(undefined)
    expect(await lookAtLog(place(), 'stdout')).toBe(undefined)
    expect(await read()).toBe(undefined)
    await removeRoom(place())
    expect(await readFile(join(root, 'outside', 'stdout.0'), 'utf8')).toBe('secret')
  })

  it('should not be read over links, pipes, directories and sockets, nor wait for them', async () => {
    await symlink(join(root, 'outside', 'stdout.0'), join(room, 'stdout.0'))
    await symlink(join(root, 'outside', 'exit.0'), join(room, 'exit.0'))
    execFileSync('mkfifo', [join(room, 'stdout.6')])
    await mkdir(join(room, 'stdout.7'))
    const before = descriptors()
    for (const offset of [0, 6, 7]) expect(await read(offset)).toBe(undefined)
    expect((await lookAtLog(place(), 'stdout'))?.segments).toEqual([])
    expect(await lookAtJob(place())).toMatchObject({ exit: undefined, strange: 'the record of its end is no file' })
    expect(descriptors()).toBe(before)
  })

  it('should give no more of a huge file than was asked for', async () => {
    await writeFile(join(room, 'stdout.0'), 'x')
    await truncate(join(room, 'stdout.0'), 2 ** 40)
    expect((await read(0, 1000))?.length).toBe(1000)
  })

  it('should be strange with too many names in it', async () => {
    for (let index = 0; index <= 1000; index += 1) await writeFile(join(room, `x${index}`), '')
    expect(await lookAtJob(place())).toMatchObject({ strange: 'more than 1000 entries', exit: undefined })
    expect(await lookAtLog(place(), 'stdout')).toBe(undefined)
  })

  it('should be removed with links in it, and without what they lead to', async () => {
    await symlink(join(root, 'outside'), join(room, 'a'))
    await symlink(join(root, 'outside', 'stdout.0'), join(room, 'b'))
    await writeFile(join(room, 'stdout.0'), 'x')
    expect(await removeRoom(place())).toBe(true)
    expect(existsSync(room)).toBe(false)
    expect(readdirSync(join(root, 'outside')).sort()).toEqual(['exit.0', 'stdout.0'])
    expect(await removeRoom(place())).toBe(true)
  })

  it('should stay when the loop has put a directory into it', async () => {
    await mkdir(join(room, 'deep'))
    expect(await removeRoom(place())).toBe(false)
    expect(existsSync(join(room, 'deep'))).toBe(true)
  })
})
