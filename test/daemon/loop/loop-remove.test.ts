import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { IMAGE, never, UNKNOWN_ID, WORKSPACE, Workshop } from './kit.ts'

const repo = { source: 'https://example.com/demo' }

/** Everything that a loop may leave behind. */
async function leftovers(shop: Workshop) {
  return {
    containers: await shop.engine.container.list({}),
    networks: await shop.engine.network.list({}),
    loops: await shop.names('loops'),
    control: await shop.names('runtime', 'control'),
  }
}

const nothing = { containers: [], networks: [], loops: [], control: [] }

describe('removing a loop', () => {
  it('should leave nothing of it', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create()
    expect(await shop.remove({ loop: name })).toEqual({ id, removed: true })
    expect(await leftovers(shop)).toEqual(nothing)
    expect(shop.changes.at(-1)).toMatchObject({ loop: { id, name }, removed: true })
    expect(await shop.list()).toEqual([])
  })

  it('should succeed for an id that is gone, and not for a name', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create({ start: false })
    const both = await Promise.all([shop.remove({ loop: id }), shop.remove({ loop: id })])
    expect(both.map(({ removed }) => removed).sort()).toEqual([false, true])
    expect(await shop.remove({ loop: id })).toEqual({ id, removed: false })
    expect(await shop.remove({ loop: UNKNOWN_ID })).toEqual({ id: UNKNOWN_ID, removed: false })
    await expect(shop.remove({ loop: name })).rejects.toMatchObject({ code: 'loop_not_found' })
  })

  it('should ask its users to let go first', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    let asked = 0
    const end = () => {
      asked += 1
      held.release()
    }
    const held = await shop.service.use(id, { start: true, owner: 'exec', reason: 'x', end }, noProgress, never)
    await shop.remove({ loop: id })
    expect(asked).toBe(1)
  })

  it('should need no container for a loop that never had one', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false, repo })
    shop.images.failure = new LoopatError('image_unavailable', 'no image')
    expect(await shop.remove({ loop: id })).toEqual({ id, removed: true })
    expect(shop.calls()).not.toContain(`container.create ${id}`)
    expect(await leftovers(shop)).toEqual(nothing)
  })

  it('should look into a clone that somebody changed from outside before the first start', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false, repo })
    await new Promise((resolve) => setTimeout(resolve, 20))
    await writeFile(join(shop.store.paths(id).workdir, 'mine'), 'work\n')
    shop.repos.work = { commits: [], files: ['mine'] }
    await expect(shop.remove({ loop: id })).rejects.toMatchObject({ code: 'unpromoted_work' })
    expect(await shop.state(id)).toBe('stopped')
  })

  it('should refuse while work is nowhere else, list it, and leave the loop as it was', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create({ repo })
    const work = { commits: ['abc1234 One', 'def5678 Two'], files: ['a.txt'] }
    shop.repos.work = work
    const removal = shop.remove({ loop: id })
    await expect(removal).rejects.toMatchObject({ code: 'unpromoted_work', details: { loop: id, ...work } })
    await expect(removal).rejects.toThrow(/2 commits, 1 files \(abc1234 One, def5678 Two, a.txt\)/)
    expect(await shop.state(name)).toBe('running')
    await shop.stop(id)
    await expect(shop.remove({ loop: id })).rejects.toMatchObject({ code: 'unpromoted_work' })
    expect(await shop.state(name)).toBe('stopped')
    await shop.service.archive({ loop: id }, never)
    await expect(shop.remove({ loop: id })).rejects.toMatchObject({ code: 'unpromoted_work' })
    expect(await shop.state(name)).toBe('archived')
    expect((await shop.engine.container.list({}))[0]?.status).toBe('exited')
    expect(await shop.remove({ loop: id, force: true })).toEqual({ id, removed: true })
    expect(await leftovers(shop)).toEqual(nothing)
  })

  it('should remove an archived loop whose work is elsewhere', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ repo })
    await shop.service.archive({ loop: id }, never)
    expect(await shop.remove({ loop: id })).toEqual({ id, removed: true })
    expect(await leftovers(shop)).toEqual(nothing)
  })

  it('should keep the branches when that is wanted', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ repo })
    shop.repos.work = { commits: ['abc1234 One'], files: [] }
    expect(await shop.remove({ loop: id, keepBranch: true })).toEqual({ id, removed: true })
    expect(shop.repos.kept).toEqual(['loop/x'])
  })

  it('should refuse files although the branches are kept, unless it is forced', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ repo })
    shop.repos.work = { commits: [], files: ['a.txt'] }
    await expect(shop.remove({ loop: id, keepBranch: true })).rejects.toMatchObject({ code: 'unpromoted_work' })
    await shop.remove({ loop: id, keepBranch: true, force: true })
    expect(shop.repos.kept).toHaveLength(2)
  })

  it('should say what to do when the loop cannot be looked into', async () => {
    await using shop = await Workshop.open()
    const { id, name } = await shop.create({ repo })
    await shop.stop(id)
    shop.engine.faults.fail('container.start', new EngineError('failed', 'no luck'))
    await expect(shop.remove({ loop: id })).rejects.toMatchObject({
      code: 'engine_failed',
      next: expect.stringContaining(`loopctl rm --force ${name}`),
    })
    expect(await shop.list()).toHaveLength(1)
  })

  it.each(['container.inspect', 'container.remove', 'network.list', 'network.remove'] as const)(
    'should be repeatable after %s failed',
    async (operation) => {
      await using shop = await Workshop.open()
      const { id, name } = await shop.create()
      shop.engine.faults.fail(operation, new EngineError('connection_lost', 'broke'))
      await expect(shop.remove({ loop: id })).rejects.toMatchObject({ code: 'connection_lost' })
      expect(await shop.list()).toMatchObject([{ name }])
      expect(await shop.remove({ loop: id })).toEqual({ id, removed: true })
      expect(await leftovers(shop)).toEqual(nothing)
    },
  )

  it('should leave a network that somebody else uses', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create()
    shop.engine.faults.fail('network.remove', new EngineError('in_use', 'used'))
    expect(await shop.remove({ loop: id })).toEqual({ id, removed: true })
    expect(shop.lines.map(({ message }) => message)).toContain('a network is still used and stays')
  })

  it('should not remove a foreign container that has the name', async () => {
    await using shop = await Workshop.open()
    const { id } = await shop.create({ start: false })
    const name = `loopat-${WORKSPACE}-${id}`
    await shop.engine.container.create(foreign(name))
    await shop.remove({ loop: id })
    expect(await shop.engine.container.inspect(name)).toMatchObject({ name })
  })

  it('should not touch a broken loop', async () => {
    await using shop = await Workshop.open()
    await mkdir(join(shop.home, 'loops', UNKNOWN_ID, 'workdir'), { recursive: true })
    await expect(shop.remove({ loop: UNKNOWN_ID, force: true })).rejects.toMatchObject({ code: 'loop_broken' })
    expect(await shop.names('loops')).toEqual([UNKNOWN_ID])
  })
})

const foreign = (name: string) => ({
  name,
  image: IMAGE,
  hostname: 'x',
  labels: {},
  command: ['sleep', '1000'],
  workdir: '/',
  env: {},
  mounts: [],
  keepId: { uid: 2000, gid: 2000 },
  init: true,
  network: { kind: 'none' } as const,
  dns: [],
  limits: {},
  stopTimeoutSeconds: 5,
})
