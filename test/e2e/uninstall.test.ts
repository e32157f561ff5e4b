import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { UninstallPlan, UninstallVerdict } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

interface Uninstalled {
  readonly plan: UninstallPlan
  readonly confirmed: boolean
  readonly verdicts: UninstallVerdict[]
}

describe('loopctl uninstall in foo, beside foobar', () => {
  let foo: TestWorkspace
  let foobar: TestWorkspace

  beforeAll(async () => {
    foo = await makeWorkspace({ home: 'foo' })
    foobar = await makeWorkspace({ home: 'foobar' })
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
  })

  /** Repositories of both, and one whose name merely begins like foo's. */
  function images() {
    return [
      { repository: `localhost/loopat-sandbox-${foo.name}`, stays: false },
      { repository: `localhost/loopat-base-${foo.name}`, stays: false },
      { repository: `localhost/loopat-sandbox-${foo.name}bar`, stays: true },
      { repository: `localhost/loopat-sandbox-${foobar.name}`, stays: true },
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

  it('should leave nothing of foo, and foobar as it was and running', async () => {
    const pid = await foobar.daemonPid()
    const before = { tree: await fingerprint(foobar.home), containers: await foobar.containers() }
    const daemon = await foo.daemonPid()

    const { plan, confirmed, verdicts } = await foo.json<Uninstalled>('uninstall', '--yes')
    expect(confirmed).toBe(true)
    expect(verdicts).toEqual(plan.resources.map((resource) => ({ ...resource, removed: true, reason: null })))
    expect(plan.resources.map(({ kind }) => kind)).toEqual([
      ...['container', 'image', 'image', 'network', 'service', 'data', 'data'],
    ])
    for (const path of [foo.home, foo.runtimeDir, `/proc/${daemon}`]) {
      expect(existsSync(path), path).toBe(false)
    }
    expect(await foo.service.pid()).toBeUndefined()
    const { container, network, image } = foobar.engine
    const label = { 'loopat.workspace': foo.name }
    expect([...(await container.list(label)), ...(await network.list(label))]).toEqual([])
    for (const { repository, stays } of images()) {
      expect((await image.inspect(`${repository}:cafe`)) !== undefined, repository).toBe(stays)
    }

    expect(await foobar.daemonPid()).toBe(pid)
    expect(await fingerprint(foobar.home)).toEqual(before.tree)
    expect(await foobar.containers()).toEqual(before.containers)
    expect(await foobar.ok('exec', 'one', 'echo', 'alive')).toBe('alive')
  })

  it('should have nothing to do the second time', async () => {
    expect(await foo.loopctl(['uninstall', '--yes'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('there is nothing to remove'),
    })
    expect(existsSync(foo.runtimeDir) || existsSync(foo.home)).toBe(false)
  })
})

/** Content of a home by path; the log goes on, and what belongs to a sub-uid cannot be read. */
async function fingerprint(home: string): Promise<Record<string, string>> {
  const prints: Record<string, string> = {}
  const visit = async (path: string): Promise<void> => {
    const stat = await lstat(join(home, path))
    prints[path] = `${stat.mode} ${stat.uid} ${stat.ino}`
    if (stat.uid !== process.getuid?.() || path === 'log') return
    if (stat.isDirectory()) for (const name of await readdir(join(home, path))) await visit(join(path, name))
    else if (stat.isFile()) {
      prints[path] += createHash('sha256')
        .update(await readFile(join(home, path)))
        .digest('hex')
    }
  }
  await visit('')
  return prints
}
