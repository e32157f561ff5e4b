import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ResultOf } from '../../protocol/contract.ts'
import type { LoopInfo } from '../../protocol/loop.ts'
import { Random } from '../harness/random.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

type Shown = LoopInfo & Pick<ResultOf<'loop/get'>, 'container'>

describe('changing what a loop is made from', () => {
  let workspace: TestWorkspace
  let data: string

  beforeAll(async () => {
    workspace = await makeWorkspace()
    data = join(workspace.directory, 'data')
    await mkdir(data)
    await writeFile(join(data, 'file'), 'from the host\n')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())
  afterEach(async () => {
    await workspace.loopctl(['rm', '--force', 'one'])
  })

  const inside = (script: string) => workspace.ok('exec', 'one', 'sh', '-c', script)

  async function containerId(): Promise<string> {
    return (await workspace.json<Shown>('show', 'one')).container.id ?? 'none'
  }

  async function makeLoop(): Promise<string> {
    await workspace.ok('create', 'one')
    await workspace.ok('exec', '-u', 'root', 'one', 'sh', '-c', 'echo installed > /usr/bin/tool')
    await inside('echo home > ~/mine; echo work > work')
    return await containerId()
  }

  it('should say what a change does, do it, and keep what was changed in the container', async () => {
    const before = await makeLoop()
    const wish = ['--mount', `${data}:/data`, '--env', 'PLAIN=1']
    const plan = await workspace.json<ResultOf<'loop/plan'>>('plan', 'one', ...wish)
    expect(plan).toEqual({
      changes: [
        { what: 'mount /data', from: null, to: `${data} (ro)`, effect: 'recreate' },
        { what: 'env PLAIN', from: null, to: 'set', effect: 'live' },
      ],
      due: null,
      users: [],
    })
    expect(await containerId()).toBe(before)
    expect(await workspace.ok('update', 'one', ...wish)).toBe('one')
    expect(await containerId()).not.toBe(before)
    expect(await inside('cat /usr/bin/tool ~/mine work /data/file; echo $PLAIN')).toBe(
      'installed\nhome\nwork\nfrom the host\n1',
    )
    expect(await workspace.ok('show', 'one')).toContain('the mount /data was added')
    expect(await workspace.ok('update', 'one', '--unmount', '/data')).toBe('one')
    expect(await inside('cat /usr/bin/tool; ls /data')).toBe('installed')
    expect(await workspace.ok('update', 'one', '--fresh')).toBe('one')
    expect((await workspace.loopctl(['exec', 'one', 'cat', '/usr/bin/tool'])).code).toBe(1)
    expect(await inside('cat ~/mine work')).toBe('home\nwork')
  })

  it('should name what would end, wait for it, or end it', async () => {
    const before = await makeLoop()
    const running = workspace.loopctl(['exec', 'one', 'sleep', '1000'])
    await eventually('the command runs', async () => {
      const { users } = await workspace.json<ResultOf<'loop/plan'>>('plan', 'one', '--dns', '10.0.0.1')
      return users.length > 0
    })
    const refused = await workspace.loopctl(['update', 'one', '--dns', '10.0.0.1'])
    expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining('exec "sleep 1000"') })
    const deferred = await workspace.json<ResultOf<'loop/update'>>('update', 'one', '--dns', '10.0.0.1', '--when-idle')
    expect(deferred.action).toBe('deferred')
    expect(await containerId()).toBe(before)
    expect(await workspace.ok('update', 'one', '--dns', '10.0.0.2', '--force')).toBe('one')
    expect((await running).code).not.toBe(0)
    expect(await containerId()).not.toBe(before)
    expect(await inside('cat /usr/bin/tool; cat /etc/resolv.conf')).toContain('nameserver 10.0.0.2')
  })

  it('should end in the old or the new container when the daemon is killed in the middle', async () => {
    await makeLoop()
    const random = new Random(20261121)
    let before: string[] = []
    for (let round = 0; round < 6; round += 1) {
      const dns = `10.0.1.${round}`
      const updating = workspace.loopctl(['update', 'one', '--dns', dns])
      const pid = await workspace.daemonPid()
      await new Promise((resolve) => setTimeout(resolve, 200 + random.below(1_500)))
      process.kill(pid, 'SIGKILL')
      await updating
      const inspect = () => workspace.json<ResultOf<'loop/inspect'>>('inspect', 'one')
      await eventually('the loop runs as it is to be', async () => {
        const { state, container } = await workspace.json<Shown>('show', 'one')
        if (state !== 'running' || container.id === null || (await inspect()).drift !== null) return false
        return (await workspace.containers()).length === 1
      })
      const now = await inspect()
      expect(now.drift).toBeNull()
      expect([before, [dns]]).toContainEqual(now.dns)
      const seen = await inside('cat /usr/bin/tool; cat /etc/resolv.conf')
      expect(seen).toContain('installed')
      for (const address of now.dns) expect(seen).toContain(`nameserver ${address}`)
      before = now.dns
    }
    const layers = `localhost/loopat-layer-${workspace.name}:`
    await eventually('only the layer of the container is left', async () => {
      const names = (await workspace.engine.image.list(layers)).flatMap(({ tags }) => tags)
      return names.length <= 1 && names.every((name) => !name.endsWith('-next'))
    })
  })
})
