import { stat } from 'node:fs/promises'
import { LoopatError } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { never, UNKNOWN_ID, Workshop } from './kit.ts'

describe('creating a loop', () => {
  it('should make directories and metadata, and start it', async () => {
    await using shop = await Workshop.open()
    const messages: string[] = []
    const loop = await shop.create({ title: 'Fix the  Login!' }, ({ message }) => void messages.push(message))
    expect(loop).toMatchObject({
      name: 'fix-the-login',
      title: 'Fix the  Login!',
      state: 'running',
      reason: null,
      user: 'ada',
      repo: null,
      branch: null,
      image: null,
      vault: 'default',
      archivedAt: null,
      address: '10.88.0.2',
    })
    expect(loop.startedAt).not.toBeNull()
    const names = await shop.names('loops', loop.id)
    // What its sleep depends on is noted in the background.
    expect(names.filter((name) => name !== 'idle.json')).toEqual(['home-upper', 'meta.json', 'run', 'workdir'])
    expect(await shop.meta(loop.id)).toMatchObject({ version: 1, id: loop.id, name: loop.name, user: 'ada' })
    const mode = async (path: string) => (await stat(path)).mode & 0o777
    expect(await mode(shop.store.paths(loop.id).directory)).toBe(0o700)
    expect(await mode(shop.store.paths(loop.id).meta)).toBe(0o600)
    expect(messages).toContain('Starting the container')
  })

  it('should not touch the engine when it is not to be started', async () => {
    await using shop = await Workshop.open()
    await shop.list()
    shop.calls()
    const loop = await shop.create({ start: false })
    expect(loop).toMatchObject({ name: 'untitled', title: 'untitled', state: 'created', startedAt: null })
    expect(shop.calls()).toEqual([])
    expect(await shop.names('loops', loop.id)).toEqual(['meta.json', 'workdir'])
  })

  it('should tell of the new loop and of its start', async () => {
    await using shop = await Workshop.open()
    await shop.create()
    const states = shop.changes.map(({ loop, removed }) => [loop.state, removed])
    expect(states).toEqual([
      ['created', false],
      ['starting', false],
      ['running', false],
    ])
  })

  it('should keep metadata, image and clone', async () => {
    await using shop = await Workshop.open()
    const loop = await shop.create({
      title: 'Demo',
      repo: { source: 'https://example.com/demo.git', ref: 'v1' },
      image: 'localhost/other:1',
      metadata: { ticket: 7 },
    })
    expect(loop).toMatchObject({ branch: `loop/demo-${loop.id.slice(0, 6)}`, image: 'localhost/other:1' })
    expect(loop.repo).toMatchObject({ mirror: 'demo', source: 'https://example.com/demo.git' })
    expect(shop.repos.requests[0]).toMatchObject({ ref: 'v1', workdir: shop.store.paths(loop.id).workdir })
    expect(await shop.names('loops', loop.id, 'workdir')).toEqual(['README'])
    const { metadata, container } = await shop.get(loop.id)
    expect(metadata).toEqual({ ticket: 7 })
    expect(shop.engine.container.specOf(container.name)).toMatchObject({ image: 'localhost/other:1' })
  })

  it('should give ten loops made at once ten names and a container each', async () => {
    await using shop = await Workshop.open()
    const loops = await Promise.all(Array.from({ length: 10 }, () => shop.create({ title: 'same' })))
    expect(new Set(loops.map(({ name }) => name)).size).toBe(10)
    expect(loops.map(({ name }) => name).sort()).toEqual(
      ['same', ...Array.from({ length: 9 }, (_, index) => `same-${index + 2}`)].sort(),
    )
    expect(shop.calls().filter((call) => call.startsWith('container.create'))).toHaveLength(10)
    expect(new Set((await shop.list()).map(({ state }) => state))).toEqual(new Set(['running']))
  })

  it('should refuse a name that another loop has, also one that is just being made', async () => {
    await using shop = await Workshop.open()
    await shop.create({ name: 'taken', start: false })
    await expect(shop.create({ name: 'taken' })).rejects.toMatchObject({ code: 'name_taken' })
    const results = await Promise.allSettled([
      shop.create({ name: 'race', start: false }),
      shop.create({ name: 'race', start: false }),
    ])
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(await shop.list()).toHaveLength(2)
  })

  it('should leave nothing when the clone fails, and free the name', async () => {
    await using shop = await Workshop.open()
    shop.repos.failure = new LoopatError('repo_unavailable', 'no repository https://example.com/none')
    const params = { name: 'mine', repo: { source: 'https://example.com/none' } }
    await expect(shop.create(params)).rejects.toMatchObject({ code: 'repo_unavailable' })
    expect(await shop.names('loops')).toEqual([])
    expect(shop.changes).toEqual([])
    shop.repos.failure = undefined
    expect(await shop.create({ ...params, start: false })).toMatchObject({ name: 'mine' })
  })

  it('should leave nothing when it is cancelled in the middle of the clone', async () => {
    await using shop = await Workshop.open()
    const caller = new AbortController()
    shop.repos.onClone = () => caller.abort(new Error('client gone'))
    const params = { repo: { source: 'https://example.com/x' } }
    await expect(shop.create(params, noProgress, caller.signal)).rejects.toThrow('client gone')
    expect(await shop.names('loops')).toEqual([])
    expect(await shop.list()).toEqual([])
  })

  it.each([
    ['an image that cannot be built', 'image_build_failed'],
    ['an image that is nowhere', 'image_unavailable'],
  ] as const)('should keep the loop and say so after %s', async (_what, code) => {
    await using shop = await Workshop.open()
    shop.images.failure = new LoopatError(code, 'no image', { next: 'Mend it.' })
    const error = await shop.create({ name: 'kept' }).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code, next: 'Mend it. Then: loopctl start kept', details: { name: 'kept' } })
    expect(await shop.list()).toMatchObject([{ name: 'kept', state: 'created', reason: 'no image' }])
    shop.images.failure = undefined
    expect(await shop.start('kept')).toMatchObject({ action: 'created', loop: { state: 'running', reason: null } })
  })

  it.each([
    ['network.ensure', 'failed', 'engine_failed'],
    ['container.create', 'failed', 'engine_failed'],
    ['container.create', 'storage_full', 'storage_failed'],
    ['container.start', 'failed', 'start_failed'],
    ['container.start', 'unavailable', 'engine_unavailable'],
    ['container.start', 'connection_lost', 'connection_lost'],
  ] as const)('should keep the loop when %s fails with %s, as %s', async (operation, kind, code) => {
    await using shop = await Workshop.open()
    shop.engine.faults.fail(operation, new EngineError(kind, 'as planned'))
    await expect(shop.create({ name: 'kept' })).rejects.toMatchObject({ code })
    expect(await shop.list()).toMatchObject([{ name: 'kept' }])
    expect(await shop.start('kept')).toMatchObject({ loop: { state: 'running' } })
    expect(await shop.engine.container.list({})).toHaveLength(1)
  })

  it('should find no loop that does not exist', async () => {
    await using shop = await Workshop.open()
    await expect(shop.get(UNKNOWN_ID)).rejects.toMatchObject({ code: 'loop_not_found' })
    await expect(shop.service.resolve('nobody')).rejects.toMatchObject({ code: 'loop_not_found' })
    expect(never.aborted).toBe(false)
  })
})
