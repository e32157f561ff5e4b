import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPodmanEngine } from '../../daemon/engine/podman/podman-engine.ts'
import { smallImage, type TestImage } from '../harness/podman.ts'
import { SystemdWorkspace, testBed } from '../harness/systemd.ts'
import { commonPlaces, filesNamed, homeListing, inspectAll, podmanThings, processesNaming } from '../harness/trace.ts'

/** Milliseconds after which the daemon has certainly written down what a loop did last. */
const COLLECTED_MS = 6_000

describe('loopctl uninstall in the usual home, beside one whose name begins like it', () => {
  let usual: SystemdWorkspace
  let other: SystemdWorkspace
  let image: TestImage

  beforeAll(async () => {
    const bed = await testBed()
    usual = new SystemdWorkspace(bed)
    other = new SystemdWorkspace(bed, join(bed, 'home/.loopat-2'))
    for (const workspace of [usual, other]) await workspace.ok('daemon', 'install')
    // Answered as soon as podman is there.
    await other.ok('rpc', 'image/status', '{}')
    image = await smallImage(createPodmanEngine({ socketPath: () => other.podman.socketPath }))
    for (const workspace of [usual, other]) {
      await workspace.ok('create', '--image', image.tag, '--name', 'one', 'a loop')
      await workspace.ok('exec', '-u', '0', 'one', 'mkdir', '-m', '700', '/home/loopat/root')
    }
  })
  afterAll(async () => {
    await other.ok('rm', '--force', 'one')
    await image[Symbol.asyncDispose]()
    await other.remove()
  })

  async function traceOfOther() {
    const { runtimeDir, home, name } = other.workspace
    return {
      daemon: await other.mainPid(),
      answering: await other.answeringPid(),
      service: await other.podman.pid(),
      home: await homeListing(home, other.env),
      podman: await inspectAll(join(runtimeDir, 'podman.sock'), `loopat.workspace=${name}`),
      units: (await filesNamed([other.units], ['loopatd@'])).sort(),
    }
  }

  it('should take its units away with all the rest, and leave the other as it was and running', async () => {
    const { name, home, runtimeDir } = usual.workspace
    expect([name, other.workspace.name]).toEqual(['loopat', expect.stringMatching(/^loopat-2-/)])
    const [{ id }]: [{ id: string }] = JSON.parse(await usual.ok('ls', '--json'))
    // Its daemon writes down what its loop did last, and collects that for some seconds.
    await sleep(COLLECTED_MS)
    const before = await traceOfOther()
    expect(before.podman).toHaveLength(2)

    await usual.ok('uninstall', '--yes')

    expect(await traceOfOther()).toEqual(before)
    expect(await other.ok('exec', 'one', 'echo', 'alive')).toBe('alive')
    for (const path of [home, runtimeDir]) expect(existsSync(path), path).toBe(false)
    const marks = [id.slice(0, 8), '"loopat.workspace":"loopat"']
    const things = await podmanThings(other.podman.socketPath)
    expect(things.filter((thing) => marks.some((mark) => thing.includes(mark)))).toEqual([])
    expect(await filesNamed(commonPlaces(usual.env), [id.slice(0, 8), 'loopatd.service', 'loopatd.socket'])).toEqual([])
    // systemd may remember the podman service as dead, as long as what connects all networks of this user, those of the
    // other workspace too, happens to have been started by it.
    const units = ['loopatd.*', 'loopat-podman-loopat-??????.service']
    const states = '--state=active,activating,deactivating,failed'
    expect(await usual.systemctl('list-units', states, '--plain', '--no-legend', ...units)).toBe('')
    await expect
      .poll(() => processesNaming([`${home}/`, `${runtimeDir}/`, id]), { timeout: 30_000, interval: 200 })
      .toEqual([])
  })
})
