import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { MAX_CLIENT_LEASES } from '../../protocol/idle.ts'
import type { LoopInfo } from '../../protocol/loop.ts'
import type { TestImage } from '../harness/podman.ts'
import { emptyImage } from '../harness/shell-image.ts'
import { SleepWatch } from '../harness/sleep-watch.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** The window of the loops in these tests, in milliseconds. */
const WINDOW = 1500
const ARCHIVED = 'is archived'

describe('sleep, when things go wrong', () => {
  let workspace: TestWorkspace
  let watch: SleepWatch
  let empty: TestImage

  beforeAll(async () => {
    workspace = await makeWorkspace({ config: 'idle.after = "1h"\n' })
    await workspace.ok('daemon', 'start')
    watch = await SleepWatch.open(workspace)
    await eventually('podman answers', async () => {
      return (await watch.client.daemon.status()).engine.state === 'up'
    })
    empty = await emptyImage(workspace.engine, `localhost/loopat-test-idle-empty:${process.pid}`)
  })
  afterAll(async () => {
    await watch[Symbol.asyncDispose]()
    await workspace.loopctl(['rm', '--force', ...(await workspace.json<LoopInfo[]>('ls')).map(({ id }) => id)])
    await empty[Symbol.asyncDispose]()
    await workspace[Symbol.asyncDispose]()
  })

  /** A running loop, which is kept awake for now. */
  async function make(name: string, window = WINDOW): Promise<LoopInfo> {
    const { loop } = await watch.client.loop.create({ name })
    await watch.keep(name)
    await watch.client.idle.set({ loop: name, after: window })
    return loop
  }

  const stopped = (loop: string) => eventually(`${loop} is stopped`, async () => (await state(loop)) === 'stopped')
  const state = async (loop: string) => (await watch.client.loop.get({ loop })).loop.state
  const why = (loop: string) => watch.client.idle.why({ loop })
  const container = (id: string) => `loopat-${workspace.name}-${id}`

  it('should come on time after a change that does not start, and in spite of a start that fails (A-8)', async () => {
    const { id } = await make('change')
    const { code, stderr } = await workspace.loopctl(['update', 'change', '--image', empty.tag])
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('has /bin/sh and sleep') })
    await watch.letGo('change')
    await watch.onTime('change', WINDOW)
    await stopped('change')
    const workdir = join(workspace.home, 'loops', id, 'workdir')
    await rename(workdir, `${workdir}.away`)
    expect((await workspace.loopctl(['exec', 'change', 'true'])).stderr).toContain('its workdir')
    expect((await why('change')).leases).toEqual([])
    expect(await state('change')).toBe('stopped')
    await rename(`${workdir}.away`, workdir)
    expect(await workspace.ok('exec', 'change', 'echo', 'awake')).toBe('awake')
    await watch.onTime('change', WINDOW, 1)
  })

  it('should come on time after a build that fails', async () => {
    await using own = await makeWorkspace({ config: 'idle.after = "1h"\n' })
    await own.ok('create', 'build')
    await own.ok('daemon', 'stop')
    // Nothing runs in it.
    await writeFile(join(own.home, 'config.toml'), `image.base = "${empty.tag}"\nidle.after = "1h"\n`)
    await own.ok('daemon', 'start')
    await using watching = await SleepWatch.open(own)
    await watching.keep('build')
    await watching.client.idle.set({ loop: 'build', after: WINDOW })
    const { code, stderr } = await own.loopctl(['update', 'build', '--no-image'])
    expect({ code, stderr }).toMatchObject({ code: 5, stderr: expect.stringContaining('build') })
    expect((await watching.client.idle.why({ loop: 'build' })).lastActivity?.what).toMatch(/^image: /)
    expect((await own.loopctl(['create', 'unbuilt'])).code).toBe(5)
    expect(await watching.owners('unbuilt')).toEqual([])
    await watching.letGo('build')
    await watching.onTime('build', WINDOW)
  })

  it('should come on time after a client was killed while it woke the loop', async () => {
    const { id } = await make('spawn')
    await watch.letGo('spawn')
    await watch.onTime('spawn', WINDOW)
    await stopped('spawn')
    const client = workspace.spawn(['exec', 'spawn', 'sleep', '1000'], { stdio: 'ignore' })
    await eventually('it wakes', async () => (await state('spawn')) !== 'stopped')
    client.kill('SIGKILL')
    await eventually('it is there again', async () => ['running', 'stopped'].includes(await state('spawn')))
    await watch.held('spawn')
    // The start may have been given up with its client, or have been over.
    if ((await state('spawn')) === 'running') await watch.onTime('spawn', WINDOW, 1)
    const isRunning = async () =>
      (await workspace.containers()).some(({ name, status }) => name === container(id) && status === 'running')
    // Podman may start it after nobody asks for that any more; then it sleeps when its window is over.
    await eventually('it sleeps', async () => (await state('spawn')) === 'stopped' && !(await isRunning()))
  })

  it('should be made up for when podman was frozen as the window ended', async () => {
    await make('frozen')
    const pid = await workspace.service.pid()
    if (pid === undefined) throw new Error('no podman service runs')
    process.kill(-pid, 'SIGSTOP')
    try {
      await watch.letGo('frozen')
      await eventually('a stop has failed', async () => (await why('frozen')).failure !== null)
      expect(await why('frozen')).toMatchObject({ failure: { attempts: 1 }, next: { action: 'sleep' } })
      expect(await workspace.ok('idle', 'why', 'frozen')).toMatch(/^not stopped +.*attempt 1, again at /m)
    } finally {
      process.kill(-pid, 'SIGCONT')
    }
    await stopped('frozen')
    expect((await why('frozen')).failure).toBeNull()
  })

  it('should be made up for when podman was killed as the window ended', async () => {
    await make('killed')
    const pid = await workspace.service.pid()
    if (pid === undefined) throw new Error('no podman service runs')
    await watch.letGo('killed')
    await sleep(WINDOW)
    process.kill(-pid, 'SIGKILL')
    await stopped('killed')
  })

  it('should not come for a loop that is removed as its window ends', async () => {
    const names = ['gone-1', 'gone-2', 'gone-3', 'gone-4', 'gone-5']
    const made = await Promise.all(names.map((name) => make(name, 100)))
    await Promise.all(
      made.map(async ({ id, name }, index) => {
        await watch.letGo(name)
        await sleep(60 + 20 * index)
        await watch.client.loop.remove({ loop: id, force: true })
      }),
    )
    const ids = made.map(({ id }) => id)
    expect((await watch.client.loop.list({ archived: 'include' })).loops.filter(({ id }) => ids.includes(id))).toEqual(
      [],
    )
    expect((await workspace.containers()).filter(({ name }) => ids.some((id) => name.includes(id)))).toEqual([])
    expect(await workspace.ok('daemon', 'logs', '--json', '-n', '9999')).not.toMatch(/"level":"error"/)
  })

  it('should follow what is done to containers behind its back', async () => {
    const { id } = await make('outside')
    const { engine } = workspace
    await engine.container.stop(container(id), 0)
    await stopped('outside')
    expect((await why('outside')).next.action).toBe('asleep')
    await engine.container.start(container(id))
    await eventually('it is seen', async () => (await why('outside')).next.action === 'stay-awake')
    await engine.container.remove(container(id))
    await eventually('it is seen', async () => (await why('outside')).next.action === 'asleep')
    expect(await workspace.ok('exec', 'outside', 'echo', 'anew')).toBe('anew')
    await watch.letGo('outside')
    await watch.onTime('outside', WINDOW)
  })

  it('should refuse windows, releases and holds that make no sense', async () => {
    await make('bad')
    const refused = async (code: number, text: string, ...args: string[]) => {
      const outcome = await workspace.loopctl(args)
      expect(outcome, args.join(' ')).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) })
    }
    for (const text of ['0', '0m', '-5m', '10x']) await refused(2, 'length of time', 'idle', 'set', 'bad', '--', text)
    for (const after of [0, -1, 99, 1.5, '"10x"']) {
      await refused(2, 'after', 'rpc', 'idle/set', `{"loop":"bad","after":${after}}`)
    }
    for (const text of ['0', '-1', '10x']) {
      const { code, stderr } = await workspace.loopctl(['ls'], {
        env: { LOOPAT_CONTAINER_IDLE_MS: text, LOOPAT_HOME: await home(text) },
      })
      expect({ code, stderr }).toMatchObject({ code: 6, stderr: expect.stringContaining('LOOPAT_CONTAINER_IDLE_MS') })
    }
    const client = workspace.spawn(['exec', 'bad', 'sleep', '1000'], { stdio: 'ignore' })
    await watch.held('bad', 'exec')
    const lease = (await why('bad')).leases.find(({ owner }) => owner === 'exec')
    await refused(4, 'belongs to another', 'idle', 'release', 'bad', lease?.id ?? '')
    await refused(3, 'no lease nothing', 'idle', 'release', 'bad', 'nothing')
    await refused(3, 'has no hold', 'idle', 'release', 'bad')
    expect(await watch.owners('bad')).toEqual(['exec'])
    client.kill('SIGKILL')
    await watch.held('bad')
    await workspace.ok('archive', 'bad')
    await refused(4, ARCHIVED, 'idle', 'hold', 'bad', '--for', '1h')
    await refused(125, ARCHIVED, 'exec', 'bad', 'true')
  })

  /** A home of its own, in which no daemon runs. */
  async function home(name: string): Promise<string> {
    const path = join(workspace.directory, `home ${name}`)
    await mkdir(path, { recursive: true })
    return path
  }

  it('should let a client have so many leases and no more, and take them away with it', async () => {
    await make('many')
    const client = await connect({ socket: workspace.socket })
    let held = 0
    for (let batch = 0; batch < 200; batch += 1) {
      const wanted = Array.from({ length: 50 }, () => client.idle.acquire({ loop: 'many', reason: 'greed' }))
      const outcomes = await Promise.allSettled(wanted)
      held += outcomes.filter(({ status }) => status === 'fulfilled').length
    }
    expect(held).toBe(MAX_CLIENT_LEASES)
    expect(await watch.owners('many')).toHaveLength(MAX_CLIENT_LEASES)
    // Others are served as before.
    await watch.client.idle.hold({ loop: 'many', forMs: 60_000 })
    await client.close()
    await watch.held('many', 'hold')
    await watch.client.idle.release({ loop: 'many' })
    await watch.letGo('many')
    await watch.onTime('many', WINDOW)
  })
})
