import { lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { AskedMount } from '../../daemon/loop/mount-fact.ts'
import { LoopHouse } from '../harness/loop-house.ts'
import { bareImage, skipsPodman, smallImage, startPodman, type TestImage, type TestPodman } from '../harness/podman.ts'

const WORKSPACE = `mount-test-${process.pid}`
const HOME = '/home/loopat'
const mountTable = z.object({
  Mounts: z.array(z.object({ Source: z.string(), Destination: z.string(), RW: z.boolean() })),
})

let podman: TestPodman
let image: TestImage
let bare: TestImage
let house: LoopHouse
let data: string
const operator: AskedMount[] = []

async function write(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}

/** Mounts of a loop's container, as podman tells them: `target:mode` to source. */
async function mountsOf(loop: string): Promise<Record<string, string>> {
  const { Mounts } = mountTable.parse(await house.asked(loop))
  return Object.fromEntries(Mounts.map(({ Source, Destination, RW }) => [`${Destination}:${RW ? 'rw' : 'ro'}`, Source]))
}

/** Which of some paths a loop can write. */
async function writable(loop: string, paths: readonly string[]): Promise<string[]> {
  const script = paths.map((path) => `if ( : >>${path} ) 2>/dev/null; then echo ${path}; fi`).join('; ')
  return (await house.inside(loop, script)).split('\n')
}

describe.skipIf(skipsPodman())('mounts on podman', () => {
  beforeAll(async () => {
    podman = await startPodman()
    image = await smallImage(podman.engine, `localhost/loopat-mount-test:${process.pid}`)
    bare = await bareImage(podman.engine, `localhost/loopat-mount-test-bare:${process.pid}`)
    house = await LoopHouse.open({ podman, image, workspace: WORKSPACE, operator, named: [bare] })
    data = join(house.home, '..', 'data')
    for (const name of ['operator/file', 'loop/file', 'writable/file', 'single']) await write(join(data, name), name)
    const personal = join(house.home, 'personal', 'ada')
    await write(join(personal, 'note'), 'personal')
    const vault = join(personal, '.loopat', 'vaults', 'default')
    await write(join(vault, 'mounts', 'home', '.ssh', 'config'), 'Host x')
    await write(join(vault, 'mounts', 'home', '.netrc'), 'machine x')
    await write(join(personal, '.loopat', 'vaults', 'other', 'envs', 'TOKEN'), 'secret of another vault')
    operator.push({ source: join(data, 'operator'), target: '/data/operator', readOnly: true })
  })

  afterAll(async () => {
    await house?.[Symbol.asyncDispose]()
    await image?.[Symbol.asyncDispose]()
    await bare?.[Symbol.asyncDispose]()
    await podman?.[Symbol.asyncDispose]()
  })

  it.each(['the small image', 'an image that nobody made for loops'])(
    'should be those of the table in %s, by inspect and from inside',
    async (which) => {
      const other = await house.create({ start: false })
      const id = await house.create({
        start: false,
        ...(which === 'the small image' ? {} : { image: bare.tag }),
        repo: { source: 'https://example.com/demo.git' },
        mounts: [
          { source: join(data, 'loop'), target: '/data/loop' },
          { source: join(data, 'writable'), target: '~/work/deep', readOnly: false },
          { source: join(data, 'single'), target: '/data/single' },
        ],
        mountAllLoops: true,
      })
      const { directory, workdir, home, run } = house.store.paths(id)
      const rows = ['.claude', 'context/knowledge', 'context/notes', 'context/chat']
      for (const name of rows) await write(join(directory, name, 'file'), name)
      await house.start(id)
      const vault = join(house.home, 'personal', 'ada', '.loopat', 'vaults', 'default', 'mounts', 'home')
      expect(await mountsOf(id)).toEqual({
        [`${HOME}:rw`]: home,
        [`/loopat/loop/${id}/workdir:rw`]: workdir,
        '/loopat/run:rw': run,
        '/loopat/control:ro': join(podman.directory, 'control', id),
        '/loopat/mirrors/demo.git:ro': join(house.home, 'mirrors', 'demo.git'),
        [`/loopat/loop/${id}/.claude:rw`]: join(directory, '.claude'),
        '/loopat/context/knowledge:ro': join(directory, 'context', 'knowledge'),
        '/loopat/context/notes:rw': join(directory, 'context', 'notes'),
        '/loopat/context/personal:rw': join(directory, 'context', 'personal'),
        '/loopat/context/chat:ro': join(directory, 'context', 'chat'),
        ...Object.fromEntries(
          (await house.service.list({ archived: 'include' }, new AbortController().signal)).loops
            .filter((loop) => loop.id !== id)
            .map((loop) => [`/loopat/loops/${loop.id}/workdir:ro`, house.store.paths(loop.id).workdir]),
        ),
        '/data/operator:ro': join(data, 'operator'),
        '/data/loop:ro': join(data, 'loop'),
        [`${HOME}/work/deep:rw`]: join(data, 'writable'),
        '/data/single:ro': join(data, 'single'),
        [`${HOME}/.ssh:rw`]: join(vault, '.ssh'),
        [`${HOME}/.netrc:rw`]: join(vault, '.netrc'),
      })

      const expected: [path: string, isWritable: boolean][] = [
        [`${HOME}/x`, true],
        [`/loopat/loop/${id}/workdir/x`, true],
        ['/loopat/run/x', true],
        ['/loopat/control/x', false],
        ['/loopat/mirrors/demo.git/x', false],
        [`/loopat/loop/${id}/.claude/x`, true],
        ['/loopat/context/knowledge/x', false],
        ['/loopat/context/notes/x', true],
        ['/loopat/context/personal/x', true],
        ['/loopat/context/chat/x', false],
        [`/loopat/loops/${other}/workdir/x`, false],
        ['/data/operator/x', false],
        ['/data/loop/x', false],
        [`${HOME}/work/deep/x`, true],
        ['/data/single', false],
        [`${HOME}/.ssh/x`, true],
        [`${HOME}/.netrc`, true],
      ]
      const paths = expected.map(([path]) => path)
      expect(await writable(id, paths)).toEqual(expected.flatMap(([path, isWritable]) => (isWritable ? [path] : [])))
      expect(await house.inside(id, 'cat /data/operator/file /data/loop/file ~/work/deep/file /data/single')).toBe(
        'operator/fileloop/filewritable/filesingle',
      )
      expect(await house.inside(id, 'cat /loopat/context/personal/note ~/.netrc')).toBe('personalmachine x')
      // Points of mounts in the home were made by and for the user, on the host as inside.
      for (const path of ['work', 'work/deep', '.ssh', '.netrc']) {
        expect((await lstat(join(home, path))).uid).toBe(process.getuid?.())
      }
      expect(await house.inside(id, `stat -c %u:%g ${HOME} ${HOME}/work ${HOME}/work/deep/x`)).toBe(
        '2000:2000\n2000:2000\n2000:2000',
      )
      // No other vault, by no path.
      await expect(house.inside(id, "grep -rs 'secret of another vault' /loopat /home /data /run")).rejects.toThrow()
    },
  )

  it('should follow a link that a loop put in their way inside alone', async () => {
    const aim = join(house.home, '..', 'aim')
    await mkdir(aim)
    const id = await house.create({
      start: false,
      mounts: [{ source: join(data, 'loop'), target: '~/planted/point' }],
    })
    const { home } = house.store.paths(id)
    await mkdir(home)
    await symlink('/tmp', join(home, 'planted'))
    expect(await house.inside(id, 'cat /tmp/point/file')).toBe('loop/file')
    await house.stop(id)
    await rm(join(home, 'planted'))
    await symlink(aim, join(home, 'planted'))
    // There is no such place inside, and the loop has done that to itself.
    await expect(house.start(id)).rejects.toMatchObject({ code: 'start_failed' })
    expect(await readdir(aim)).toEqual([])
  })

  it('should make the container anew once for a mount of the configuration, and say why', async () => {
    const id = await house.create()
    const before = await house.container(id)
    operator.push({ source: join(data, 'single'), target: '/data/more', readOnly: true })
    expect(await house.inspect(id)).toMatchObject({ drift: 'the mount /data/more was added' })
    expect(await house.start(id)).toEqual({ action: 'recreated', reason: 'the mount /data/more was added' })
    expect(await house.inside(id, 'cat /data/more')).toBe('single')
    const after = await house.container(id)
    expect(after.id).not.toBe(before.id)
    expect(await house.start(id)).toEqual({ action: 'none', reason: null })
    await house.stop(id)
    expect(await house.start(id)).toEqual({ action: 'started', reason: null })
    expect((await house.container(id)).id).toBe(after.id)
    operator.pop()
    expect(await house.start(id)).toEqual({ action: 'recreated', reason: 'the mount /data/more was removed' })
  })

  it('should start without a mount whose source went, and say so', async () => {
    const source = join(data, 'goes')
    await write(join(source, 'file'), 'here')
    const id = await house.create({ mounts: [{ source, target: '/data/goes' }] })
    expect(await house.inside(id, 'cat /data/goes/file')).toBe('here')
    await house.stop(id)
    await rm(source, { recursive: true })
    expect(await house.start(id)).toMatchObject({ action: 'recreated' })
    expect((await house.inspect(id)).skipped).toMatchObject([{ target: '/data/goes', origin: 'loop' }])
    expect(await readFile(join(data, 'single'), 'utf8')).toBe('single')
  })
})
