import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import type { Meta } from '../../../daemon/loop/loop-meta.ts'
import { LoopStore, type LoopStoreOptions, type StoredLoop } from '../../../daemon/loop/loop-store.ts'
import { faultyFiles, type LogLine, memoryLog, UNKNOWN_ID } from './kit.ts'

let directory: string
let lines: LogLine[]

const open = (options: Partial<LoopStoreOptions> = {}) =>
  new LoopStore({
    directory,
    log: memoryLog(lines),
    removeAsRoot: () => Promise.reject(new Error('unexpected')),
    ...options,
  })

const metaOf = (id: string, more: Partial<Meta> = {}): Meta => ({
  version: 1,
  id,
  name: `n-${id.slice(0, 8)}`,
  title: 'A title',
  createdAt: '2030-01-02T03:04:05.000Z',
  user: 'ada',
  ...more,
})

async function add(store: LoopStore, more: Partial<Meta> = {}): Promise<string> {
  const draft = await store.begin()
  await draft.commit(metaOf(draft.id, more))
  return draft.id
}

const reasonOf = (loop: StoredLoop | undefined) => (loop?.kind === 'broken' ? loop.reason : undefined)

beforeEach(async () => {
  lines = []
  directory = await mkdtemp(join(tmpdir(), 'loopat-store-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

describe('LoopStore', () => {
  it('should write what it reads, private to the user', async () => {
    const store = open()
    const id = await add(store, { metadata: { a: 1 } })
    expect(await store.read(id)).toEqual({ kind: 'readable', id, meta: metaOf(id, { metadata: { a: 1 } }) })
    expect(await readdir(join(directory, id))).toEqual(['meta.json', 'workdir'])
    expect((await stat(join(directory, id))).mode & 0o777).toBe(0o700)
    expect((await stat(join(directory, id, 'meta.json'))).mode & 0o777).toBe(0o600)
    expect(await readFile(join(directory, id, 'meta.json'), 'utf8')).toMatch(/^\{\n {2}"version": 1,\n/)
  })

  it('should list newest first and broken ones last', async () => {
    const store = open()
    const old = await add(store, { createdAt: '2029-01-01T00:00:00.000Z' })
    const torn = await add(store)
    const young = await add(store, { createdAt: '2031-01-01T00:00:00.000Z' })
    await writeFile(join(directory, torn, 'meta.json'), '{')
    expect((await store.list()).map(({ id }) => id)).toEqual([young, old, torn])
  })

  it('should list nothing when there is no directory', async () => {
    await rm(directory, { recursive: true })
    expect(await open().list()).toEqual([])
    expect(await open().read(UNKNOWN_ID)).toBeUndefined()
  })

  it('should not list a loop before it is committed, nor after it was taken back', async () => {
    const store = open()
    const draft = await store.begin()
    expect(await store.list()).toEqual([])
    expect(await store.read(draft.id)).toBeUndefined()
    expect(await readdir(draft.paths.workdir)).toEqual([])
    await draft.discard()
    expect(await readdir(directory)).toEqual([])
    expect(await store.list()).toEqual([])
  })

  it('should see changes made by hand, in both directions', async () => {
    const store = open()
    const id = await add(store)
    const path = join(directory, id, 'meta.json')
    const text = await readFile(path, 'utf8')
    await writeFile(path, text.replace('A title', 'By hand'))
    expect(await store.read(id)).toMatchObject({ meta: { title: 'By hand' } })
    await writeFile(path, 'torn')
    expect(reasonOf(await store.read(id))).toBe('meta.json is not JSON')
    await writeFile(path, text)
    expect(await store.read(id)).toMatchObject({ meta: { title: 'A title' } })
  })

  it('should never write to a loop whose metadata it cannot read', async () => {
    const store = open()
    const id = await add(store)
    await writeFile(join(directory, id, 'meta.json'), '{ "mine": 1 ')
    await expect(store.update(id, (meta) => ({ ...meta, title: 'x' }))).rejects.toMatchObject({ code: 'loop_broken' })
    expect(await readFile(join(directory, id, 'meta.json'), 'utf8')).toBe('{ "mine": 1 ')
  })

  it('should keep unknown keys over a write', async () => {
    const store = open()
    const id = await add(store, { vault: 'work' })
    await store.update(id, (meta) => ({ ...meta, title: 'x' }))
    expect(JSON.parse(await readFile(join(directory, id, 'meta.json'), 'utf8'))).toMatchObject({
      vault: 'work',
      title: 'x',
    })
  })

  it('should lose no update of many at once', async () => {
    const store = open()
    const id = await add(store, { metadata: { count: 0 } })
    const count = (meta: Meta) => Number(meta.metadata?.count)
    await Promise.all(
      Array.from({ length: 30 }, () => store.update(id, (meta) => ({ ...meta, metadata: { count: count(meta) + 1 } }))),
    )
    expect(await store.read(id)).toMatchObject({ meta: { metadata: { count: 30 } } })
    expect(await readdir(join(directory, id))).toEqual(['meta.json', 'workdir'])
  })

  it('should find a loop by its name', async () => {
    const store = open()
    const id = await add(store, { name: 'mine' })
    await store.list()
    expect(await store.findByName('mine')).toMatchObject({ id })
    expect(await store.findByName('other')).toBeUndefined()
    await store.update(id, (meta) => ({ ...meta, name: 'renamed' }))
    expect(await store.findByName('mine')).toBeUndefined()
    await store.delete(id)
    expect(await store.findByName('renamed')).toBeUndefined()
  })

  it('should refuse an update of a loop that is gone', async () => {
    await expect(open().update(UNKNOWN_ID, (meta) => meta)).rejects.toMatchObject({ code: 'loop_not_found' })
  })

  it('should delete a loop, and one that is gone', async () => {
    const store = open()
    const id = await add(store)
    await store.delete(id)
    await store.delete(id)
    expect(await readdir(directory)).toEqual([])
  })

  it.each(['', '.', '..', '../x', 'a/b', 'lost+found', `.removing-${UNKNOWN_ID}`])(
    'should not take %j for a path',
    async (id) => {
      await expect(open().delete(id)).rejects.toMatchObject({ code: 'internal' })
    },
  )
})

describe('broken loops', () => {
  const cases: [string, (path: string) => Promise<unknown>, string][] = [
    ['a link', (path) => symlink('/etc', path), 'it is a symbolic link'],
    ['a link to nowhere', (path) => symlink('/nowhere/at/all', path), 'it is a symbolic link'],
    ['a file', (path) => writeFile(path, ''), 'it is not a directory'],
    ['a directory without metadata', (path) => mkdir(join(path, 'x'), { recursive: true }), 'it has no meta.json'],
    [
      'metadata behind a link',
      async (path) => {
        await mkdir(path)
        await symlink('/etc/hostname', join(path, 'meta.json'))
      },
      'meta.json is a symbolic link',
    ],
    [
      'a directory as metadata',
      (path) => mkdir(join(path, 'meta.json'), { recursive: true }),
      'meta.json is not a file',
    ],
    [
      'a FIFO as metadata',
      async (path) => {
        await mkdir(path)
        await promisify(execFile)('mkfifo', [join(path, 'meta.json')])
      },
      'meta.json is not a file',
    ],
    [
      'huge metadata',
      async (path) => {
        await mkdir(path)
        await writeFile(join(path, 'meta.json'), ' '.repeat(1_048_577))
      },
      'meta.json has more than 1048576 bytes',
    ],
  ]

  it.each(cases)('should show %s and leave it alone', async (_what, make, reason) => {
    const id = randomUUID()
    await make(join(directory, id))
    const store = open()
    await store.recover()
    await store.purge()
    const [loop] = await store.list()
    expect(loop?.id).toBe(id)
    expect(reasonOf(loop)).toBe(reason)
    expect(reasonOf(await store.read(id))).toBe(reason)
  })

  it('should show metadata that may not be read', async () => {
    const store = open()
    const id = await add(store)
    await chmod(join(directory, id, 'meta.json'), 0)
    const reason = reasonOf(await store.read(id))
    // Root reads everything.
    expect(reason).toBe(process.getuid?.() === 0 ? undefined : 'meta.json cannot be read (EACCES)')
  })

  it('should show directories whose names are no ids, but neither files nor what is hidden', async () => {
    await mkdir(join(directory, 'lost+found'))
    await mkdir(join(directory, '.hidden'))
    await writeFile(join(directory, 'notes.txt'), '')
    const store = open()
    expect((await store.list()).map(({ id }) => id)).toEqual(['lost+found'])
    expect(reasonOf(await store.read('lost+found'))).toBe('the name of its directory is not a loop id')
  })
})

describe('recovery', () => {
  it('should remove what a crash left, and only that', async () => {
    const kept = await add(open())
    const path = (...names: string[]) => join(directory, ...names)
    const half = randomUUID()
    await mkdir(path(half, 'workdir', '.git'), { recursive: true })
    await writeFile(path(half, '.creating'), '')
    const empty = randomUUID()
    await mkdir(path(empty))
    const unmarked = randomUUID()
    await mkdir(path(unmarked))
    await writeFile(path(unmarked, '.creating.0a1b2c.tmp~'), '')
    await writeFile(path('.probe.0a1b2c.tmp~'), '')
    const removing = randomUUID()
    await mkdir(path(`.removing-${removing}`, 'workdir'), { recursive: true })
    await writeFile(path(kept, 'meta.json.0a1b2c.tmp~'), 'torn')
    await writeFile(path(kept, '.creating'), '')
    const foreign = randomUUID()
    await mkdir(path(foreign))
    await writeFile(path(foreign, 'precious'), '')
    await mkdir(path('.removing-something'))

    const store = open()
    await store.recover()
    expect((await store.list()).map(({ id }) => id)).toEqual([kept, foreign])
    await store.purge()
    expect((await readdir(directory)).sort()).toEqual(['.removing-something', foreign, kept].sort())
    expect(await readdir(path(kept))).toEqual(['meta.json', 'workdir'])
    expect(await readdir(path(foreign))).toEqual(['precious'])
  })

  it('should not follow links', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'loopat-outside-'))
    try {
      await writeFile(join(outside, 'x.tmp~'), '')
      await writeFile(join(outside, '.creating'), '')
      await symlink(outside, join(directory, randomUUID()))
      const store = open()
      await store.recover()
      await store.purge()
      expect((await readdir(outside)).sort()).toEqual(['.creating', 'x.tmp~'])
    } finally {
      await rm(outside, { recursive: true })
    }
  })

  it('should go on when something cannot be removed, and try again the next time', async () => {
    for (const id of [randomUUID(), randomUUID()]) {
      await mkdir(join(directory, `.removing-${id}`, 'x'), { recursive: true })
      await chmod(join(directory, `.removing-${id}`), 0o500)
    }
    const tried: string[] = []
    const fail = async (path: string) => {
      tried.push(path)
      throw new EngineError('failed', 'no podman')
    }
    const store = open({ removeAsRoot: fail })
    await store.recover()
    await store.purge()
    // Root may remove everything by itself.
    expect(tried).toHaveLength(process.getuid?.() === 0 ? 0 : 2)
    expect(lines.filter(({ level }) => level === 'warn')).toHaveLength(tried.length)
    for (const path of tried) await chmod(path, 0o700)
  })
})

describe('files of other users', () => {
  it('should be removed as root', async () => {
    const removed: string[] = []
    const store = open({
      removeAsRoot: async (path) => {
        removed.push(path)
        await chmod(join(path, 'workdir'), 0o700)
        await rm(path, { recursive: true })
      },
    })
    const id = await add(store)
    await writeFile(join(store.paths(id).workdir, 'x'), '')
    await chmod(store.paths(id).workdir, 0o500)
    await store.delete(id)
    expect(removed).toEqual(process.getuid?.() === 0 ? [] : [join(directory, `.removing-${id}`)])
    expect(await readdir(directory)).toEqual([])
  })

  it('should lead to an error that names what is left, when they cannot be removed', async () => {
    const store = open({ removeAsRoot: () => Promise.reject(new EngineError('failed', 'no podman')) })
    const id = await add(store)
    const aside = join(directory, `.removing-${id}`)
    await writeFile(join(store.paths(id).workdir, 'x'), '')
    await chmod(store.paths(id).workdir, 0o500)
    const error = await store.delete(id).catch((caught: unknown) => caught)
    if (process.getuid?.() === 0) return
    expect(error).toMatchObject({ code: 'storage_failed', next: `Run: podman unshare rm -rf -- ${aside}` })
    expect(await store.list()).toEqual([])
    await chmod(join(aside, 'workdir'), 0o700)
  })
})

describe('a full disk', () => {
  it.each(['ENOSPC', 'EROFS', 'EDQUOT', 'EACCES'])('should be told (%s) until a write succeeds', async (code) => {
    const disk = { full: false, code }
    const store = open(faultyFiles(disk))
    const id = await add(store)
    expect(store.storage).toEqual({ writable: true, reason: null })
    disk.full = true
    const failing = store.update(id, (meta) => ({ ...meta, title: 'x' }))
    await expect(failing).rejects.toMatchObject({ code: 'storage_failed', details: { code }, next: expect.any(String) })
    expect(store.storage).toMatchObject({ writable: false, reason: expect.stringContaining(code) })
    expect(await store.read(id)).toMatchObject({ meta: { title: 'A title' } })
    expect(await store.list()).toHaveLength(1)
    disk.full = false
    await store.update(id, (meta) => ({ ...meta, title: 'x' }))
    expect(store.storage).toEqual({ writable: true, reason: null })
  })

  it('should be told from the start, and leave nothing behind', async () => {
    const disk = { full: true }
    const store = open(faultyFiles(disk))
    await store.recover()
    expect(store.storage).toMatchObject({ writable: false, reason: expect.stringContaining('ENOSPC') })
    disk.full = false
    await store.recover()
    expect(store.storage).toEqual({ writable: true, reason: null })
    expect(await readdir(directory)).toEqual([])
  })

  it('should leave nothing of a loop that was to be made', async () => {
    const disk = { full: true }
    const store = open(faultyFiles(disk))
    await expect(store.begin()).rejects.toMatchObject({ code: 'storage_failed' })
    disk.full = false
    const draft = await store.begin()
    disk.full = true
    await expect(draft.commit(metaOf(draft.id))).rejects.toMatchObject({ code: 'storage_failed' })
    await draft.discard()
    expect(await readdir(directory)).toEqual([])
    // Deleting works on a full disk, and proves nothing.
    expect(store.storage.writable).toBe(false)
  })

  it('should not hide a defect', async () => {
    const store = open({
      files: { makeDirectory: () => Promise.reject(new TypeError('a defect')), write: async () => undefined },
    })
    await expect(store.begin()).rejects.toThrow(TypeError)
    expect(store.storage.writable).toBe(true)
  })
})
