import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LoopInfo } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Fixture, fixtureVersions, layDown } from '../fixture/fixture.ts'
import { readTree, type TreeEntry } from '../fixture/tree.ts'
import { skipsPodman } from '../harness/podman.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

type Shown = LoopInfo & { container: { name: string; id: string | null } }

/** Where it says what an earlier daemon left, and how that was recorded: `test/fixture/record.ts`. */
describe.skipIf(skipsPodman()).each(await fixtureVersions())('after an upgrade from %s', (version) => {
  let workspace: TestWorkspace
  let fixture: Fixture
  let containers: Record<string, string>
  let service: number | undefined

  beforeAll(async () => {
    workspace = await makeWorkspace()
    fixture = await layDown(version, workspace)
    containers = await containerIds()
    service = await workspace.service.pid()
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  const show = (loop: string) => workspace.json<Shown>('show', loop)
  const start = async (loop: string): Promise<unknown> =>
    JSON.parse(await workspace.ok('rpc', 'loop/start', JSON.stringify({ loop })))
  const born = () => workspace.ok('exec', 'runs', 'cut', '-d ', '-f22', '/proc/1/stat')

  async function containerIds(): Promise<Record<string, string>> {
    return Object.fromEntries((await workspace.containers()).map(({ name, id }) => [name, id]))
  }

  async function meta(loop: string): Promise<{ path: string; value: Record<string, unknown> }> {
    const path = join(workspace.home, 'loops', (await show(loop)).id, 'meta.json')
    return { path, value: JSON.parse(await readFile(path, 'utf8')) }
  }

  it('should list every loop as it was', async () => {
    const loops = await workspace.json<LoopInfo[]>('ls', '--all')
    expect(loops).toMatchObject(fixture.loops)
    expect(fixture.loops.map(({ state }) => state).sort()).toEqual(['archived', 'created', 'running', 'stopped'])
    expect(await workspace.service.pid()).toBe(service)
  })

  it('should adopt the containers as they are, the running one with its processes', async () => {
    const details = await workspace.engine.container.inspect((await show('runs')).container.name)
    const since = await born()
    expect(await start('runs')).toMatchObject({ action: 'none', reason: null, loop: { state: 'running' } })
    expect(await born()).toBe(since)
    expect(await containerIds()).toEqual(containers)
    expect(await workspace.engine.container.inspect(details?.id ?? '')).toMatchObject({
      pid: details?.pid,
      startedAt: details?.startedAt,
    })
  })

  it('should run commands in it, with its files and its history', async () => {
    expect(await workspace.ok('exec', 'runs', 'cat', 'README', 'note', '/home/loopat/note')).toBe(
      'A repository.\nwork of runs\nhome of runs',
    )
    // The clone borrows the objects of the mirror, by a path that leads there from inside.
    const borrowed = 'cd .git/objects && cd "$(cat info/alternates)" && find . -type f | grep -c .'
    expect(Number(await workspace.ok('exec', 'runs', 'sh', '-c', borrowed))).toBeGreaterThan(0)
    const { branch } = await show('runs')
    expect(await workspace.ok('exec', 'runs', 'cat', '.git/HEAD')).toBe(`ref: refs/heads/${branch}`)
  })

  it('should stop it, start the same container again, and restart it', async () => {
    await workspace.ok('stop', 'runs')
    expect(await show('runs')).toMatchObject({ state: 'stopped' })
    expect(await start('runs')).toMatchObject({ action: 'started', reason: null })
    await workspace.ok('restart', 'runs')
    expect(await containerIds()).toEqual(containers)
  })

  it('should start the same container of a stopped loop when it is touched', async () => {
    expect(await workspace.ok('exec', 'rests', 'cat', 'note', '/home/loopat/note')).toBe('work of rests\nhome of rests')
    expect(await containerIds()).toEqual(containers)
  })

  it('should bring back what was archived, and start what never ran', async () => {
    expect((await workspace.loopctl(['start', 'aside'])).code).toBe(4)
    await workspace.ok('unarchive', 'aside')
    expect(await workspace.ok('exec', 'aside', 'cat', 'note', '/home/loopat/note')).toBe('work of aside\nhome of aside')
    expect(await containerIds()).toEqual(containers)
    expect(await workspace.ok('exec', 'fresh', 'cat', 'note')).toBe('work of fresh')
  })

  it('should keep what a newer daemon wrote into the metadata, as after a downgrade', async () => {
    const { path, value } = await meta('runs')
    const newer = { hologram: { depth: 3 }, repo: { ...(value.repo as object), lens: ['wide'] } }
    await writeFile(path, JSON.stringify({ ...value, ...newer }))
    await workspace.ok('rename', 'runs', 'ran', '--title', 'It ran')
    expect((await meta('ran')).value).toEqual({ ...value, ...newer, name: 'ran', title: 'It ran' })
    await workspace.ok('rename', 'ran', 'runs')
  })

  it('should have lost nothing', async () => {
    // Metadata may get new keys; a lock says who serves the home now.
    const isKept = ({ path }: TreeEntry) => !/^loops\/[^/]*\/meta\.json$|^log|^\.lock$/.test(path)
    const kept = fixture.home.filter(isKept)
    expect(kept.length).toBeGreaterThan(20)
    const now = new Map((await readTree(workspace.home)).map((entry) => [entry.path, entry]))
    expect(kept.map(({ path }) => now.get(path))).toEqual(kept)
    for (const { id, name } of fixture.loops) {
      const before = fixture.home.find(({ path }) => path === `loops/${id}/meta.json`)
      const { archivedAt: _archivedAt, title: _title, ...rest } = JSON.parse(before?.text ?? '')
      expect((await meta(name)).value).toMatchObject(rest)
    }
  })

  it('should remove them, and leave nothing', async () => {
    await workspace.ok('rm', 'aside', 'rests', 'fresh')
    // There is no git in the tiny image, to say that nothing is lost with the clone.
    await workspace.ok('rm', '--force', 'runs')
    expect(await workspace.containers()).toEqual([])
    expect(await workspace.engine.network.list({ 'loopat.workspace': workspace.name })).toEqual([])
    expect((await readTree(join(workspace.home, 'loops'))).map(({ path }) => path)).toEqual([])
  })
})
