import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LoopInfo, UninstallPlan, UninstallVerdict } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { commonPlaces, filesNamed, homeListing, inspectAll, podmanThings, processesNaming } from '../harness/trace.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** Milliseconds after which the daemon has certainly written down what a loop did last. */
const COLLECTED_MS = 6_000

interface Uninstalled {
  readonly plan: UninstallPlan
  readonly confirmed: boolean
  readonly verdicts: UninstallVerdict[]
}

describe('loopctl uninstall in foo, beside foobar', () => {
  let directory: string
  let foo: TestWorkspace
  let foobar: TestWorkspace

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'uninstall-'))
    foo = await makeWorkspace({ directory, home: 'foo' })
    foobar = await makeWorkspace({ directory, home: 'foobar' })
    const secret = '/home/loopat/root'
    for (const workspace of [foo, foobar]) {
      await workspace.ok('create', 'one')
      await workspace.ok('create', 'rests', '--no-start')
      await workspace.ok('archive', 'rests')
      // A file of a sub-uid, in a directory that only that one may enter.
      await workspace.ok('exec', '-u', '0', 'one', 'sh', '-c', `mkdir -m 700 ${secret} && touch ${secret}/file`)
    }
    for (const { repository } of images()) await foobar.engine.image.tag(foobar.image, `${repository}:cafe`)
  })
  afterAll(async () => {
    for (const { repository } of images()) await foobar.engine.image.untag(`${repository}:cafe`)
    await foo[Symbol.asyncDispose]()
    await foobar[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  })

  /** Repositories of both, and one whose name merely begins like foo's. */
  function images() {
    return [
      { repository: `localhost/loopat-sandbox-${foo.name}`, stays: false },
      { repository: `localhost/loopat-base-${foo.name}`, stays: false },
      { repository: `localhost/loopat-layer-${foo.name}`, stays: false },
      { repository: `localhost/loopat-sandbox-${foo.name}bar`, stays: true },
      { repository: `localhost/loopat-layer-${foo.name}bar`, stays: true },
      { repository: `localhost/loopat-sandbox-${foobar.name}`, stays: true },
      { repository: `localhost/loopat-layer-${foobar.name}`, stays: true },
    ]
  }

  it('should refuse while a command runs in a loop, and remove nothing', async () => {
    const child = foo.spawn(['exec', 'one', 'sleep', '60'], { stdio: 'ignore' })
    const leases = async () => (await foo.json<{ leases: number }>('daemon', 'status')).leases
    await eventually('the command runs', async () => (await leases()) === 1)
    expect(await foo.loopctl(['uninstall', '--yes'])).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/in use: \d other connections, 1 command in loops/),
    })
    child.kill('SIGTERM')
    await eventually('the command ends', async () => (await leases()) === 0)
    expect(await foo.containers()).toHaveLength(1)
  })

  it('should show the plan, and do nothing when nobody says yes', async () => {
    const pid = await foo.daemonPid()
    const { code, stdout, stderr } = await foo.loopctl(['uninstall'], { input: 'y\n' })
    expect(code).toBe(1)
    expect(stdout).toContain(`workspace ${foo.name}: 2 loops, 0 mirrors in ${foo.home}\n`)
    expect(stdout).toMatch(new RegExp(`^ {2}container +loopat-${foo.name}-`, 'm'))
    expect(stderr).toBe('Nobody can be asked here: confirm with --yes.\nNothing was removed.\n')
    expect(await foo.daemonPid()).toBe(pid)
  })

  /** All that there is to see of foobar, but for what its log says since. */
  async function traceOfFoobar() {
    return {
      daemon: await foobar.daemonPid(),
      service: await foobar.service.pid(),
      home: await homeListing(foobar.home),
      podman: await inspectAll(foobar.service.socketPath, `loopat.workspace=${foobar.name}`),
    }
  }

  it('should take foo away, and leave foobar as it was, byte by byte, and running', async () => {
    expect(foobar.home).toBe(`${foo.home}bar`)
    const log = () => readFile(join(foobar.home, 'log/loopatd.log'), 'utf8')
    const logged = await log()
    // Its daemon writes down what its loop did last, and collects that for some seconds; podman forgets commands later.
    await sleep(COLLECTED_MS)
    await eventually('its commands are forgotten', async () => {
      const { podman } = await traceOfFoobar()
      return !JSON.stringify(podman).includes('"ExecIDs":["')
    })
    const before = await traceOfFoobar()
    expect(before.home).toMatch(/^[0-9a-f]{64} {2}\.\/loops\/.*\/root\/file$/m)
    expect(before.podman).toHaveLength(2)
    const loops = await foo.json<LoopInfo[]>('ls', '--all')
    const daemon = await foo.daemonPid()

    const { plan, confirmed, verdicts } = await foo.json<Uninstalled>('uninstall', '--yes')
    expect(confirmed).toBe(true)
    expect(verdicts).toEqual(plan.resources.map((resource) => ({ ...resource, removed: true, reason: null })))
    expect(plan.resources.map(({ kind }) => kind)).toEqual([
      ...['container', 'image', 'image', 'image', 'network', 'service', 'data', 'data'],
    ])

    expect(await traceOfFoobar()).toEqual(before)
    expect((await log()).startsWith(logged)).toBe(true)
    expect(await foobar.ok('exec', 'one', 'echo', 'alive')).toBe('alive')
    await expectNothingOf(foo, [`/proc/${daemon}`], loops)
  })

  async function expectNothingOf(gone: TestWorkspace, paths: string[], loops: readonly LoopInfo[]): Promise<void> {
    for (const path of [...paths, gone.home, gone.runtimeDir]) expect(existsSync(path), path).toBe(false)
    expect(await gone.service.pid()).toBeUndefined()
    const { image } = foobar.engine
    for (const { repository, stays } of images()) {
      expect((await image.inspect(`${repository}:cafe`)) !== undefined, repository).toBe(stays)
    }
    const marks = [gone.name, ...loops.map(({ id }) => id)]
    const names = [...marks, `${gone.home}/`]
    const isOfGone = (thing: string) => names.some((name) => thing.includes(name))
    const staying = images().flatMap(({ repository, stays }) => (stays ? [`${repository}:cafe`] : []))
    const things = (await podmanThings(foobar.service.socketPath)).filter((thing) => !staying.includes(thing))
    expect(things.filter(isOfGone)).toEqual([])
    expect(await filesNamed(commonPlaces(gone.env), marks)).toEqual([])
    const left = () => processesNaming(names)
    // What looks after a container that ended stays for a moment.
    await expect.poll(left, { timeout: 30_000, interval: 200 }).toEqual([])
  }

  it('should have nothing to do the second time', async () => {
    expect(await foo.loopctl(['uninstall', '--yes'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('there is nothing to remove'),
    })
    expect(existsSync(foo.runtimeDir) || existsSync(foo.home)).toBe(false)
  })
})
