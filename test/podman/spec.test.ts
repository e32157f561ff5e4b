import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Meta } from '../../daemon/loop/loop-meta.ts'
import { LoopHouse } from '../harness/loop-house.ts'
import { bareImage, skipsPodman, smallImage, startPodman, type TestImage, type TestPodman } from '../harness/podman.ts'

const WORKSPACE = `spec-test-${process.pid}`

let podman: TestPodman
let image: TestImage
let bare: TestImage
let house: LoopHouse

const vaultDirectory = (name: string) => join(house.home, 'personal', 'ada', '.loopat', 'vaults', name)

async function write(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}

describe.skipIf(skipsPodman())('what a container is made of, on podman', () => {
  beforeAll(async () => {
    podman = await startPodman()
    image = await smallImage(podman.engine, `localhost/loopat-spec-test:${process.pid}`)
    bare = await bareImage(podman.engine, `localhost/loopat-spec-test-bare:${process.pid}`)
    house = await LoopHouse.open({ podman, image, workspace: WORKSPACE, operator: [], named: [bare] })
    await write(join(vaultDirectory('work'), 'mounts', 'home', '.netrc'), 'machine work')
  })

  afterAll(async () => {
    await house?.[Symbol.asyncDispose]()
    await image?.[Symbol.asyncDispose]()
    await bare?.[Symbol.asyncDispose]()
    await podman?.[Symbol.asyncDispose]()
  })

  it('should make it anew exactly once for each change, and say why; and for nothing else', async () => {
    const id = await house.create()
    const changes: [change: Partial<Meta>, reason: string | null][] = [
      [{ env: { A: '1' } }, null],
      [{ vault: 'default' }, null],
      [{ title: 'Another', metadata: { label: 'x' } }, null],
      [{ vault: 'work' }, 'the vault changed from default to work, the mount /home/loopat/.netrc was added'],
      [{ dns: ['192.0.2.53'] }, 'the name servers changed from the usual to 192.0.2.53'],
      [{ knowledgeRw: true }, 'the knowledge is writable now'],
      [{ image: bare.tag }, 'its image changed'],
    ]
    for (const [change, reason] of changes) {
      const before = (await house.container(id)).id
      await house.store.update(id, (meta) => ({ ...meta, ...change }))
      expect(await house.start(id)).toEqual({ action: reason === null ? 'none' : 'recreated', reason })
      expect((await house.container(id)).id === before).toBe(reason === null)
      expect(await house.start(id)).toEqual({ action: 'none', reason: null })
    }
    expect(await house.inside(id, 'cat ~/.netrc')).toBe('machine work')
    expect(await house.inside(id, 'cat /etc/resolv.conf')).toContain('nameserver 192.0.2.53')
    // A value in the vault counts without.
    const { id: before } = await house.container(id)
    await write(join(vaultDirectory('work'), 'envs', 'TOKEN'), 'new secret')
    expect(await house.start(id)).toEqual({ action: 'none', reason: null })
    expect((await house.container(id)).id).toBe(before)
    expect(JSON.stringify(await house.asked(id))).not.toContain('new secret')
    const { recreation } = await house.service.get({ loop: id }, new AbortController().signal)
    expect(recreation).toMatchObject({ due: null, last: { reason: 'its image changed' } })
  })

  it('should run commands as the user whose files are ours, with its home, in an image nobody made for loops', async () => {
    const id = await house.create({ image: bare.tag })
    const script = 'id -u; id -un; echo "$HOME"; echo ~loopat; pwd; touch ~/made && stat -c %u ~/made'
    expect((await house.inside(id, script)).split('\n')).toEqual([
      '2000',
      'loopat',
      '/home/loopat',
      '/home/loopat',
      `/loopat/loop/${id}/workdir`,
      '2000',
    ])
    expect(await house.inside(id, 'id -u; head -n 1 /etc/passwd', 'root')).toBe('0\nroot:x:0:0:root:/root:/bin/sh')
    await house.stop(id)
    expect(await house.start(id)).toMatchObject({ action: 'started' })
    expect(await house.inside(id, 'id -un; grep -c 2000 /etc/passwd')).toBe('loopat\n1')
  })

  it('should keep home and workdir of an ephemeral loop, and nothing else', async () => {
    const script = 'ls ~/kept kept /tmp/gone 2>/dev/null | tr "\\n" " "'
    const id = await house.create({ persistence: 'ephemeral' })
    await house.inside(id, 'touch ~/kept kept /tmp/gone')
    const { id: before } = await house.container(id)
    await house.stop(id)
    expect(await house.start(id)).toEqual({ action: 'recreated', reason: 'it is ephemeral' })
    expect((await house.container(id)).id).not.toBe(before)
    expect(await house.inside(id, script)).toBe('/home/loopat/kept kept')
    const stays = await house.create()
    await house.inside(stays, 'touch ~/kept kept /tmp/gone')
    await house.stop(stays)
    expect(await house.start(stays)).toEqual({ action: 'started', reason: null })
    expect(await house.inside(stays, script)).toBe('/home/loopat/kept /tmp/gone kept')
  })

  it('should limit what the host can limit, and refuse the rest with nothing made', async () => {
    const { cgroupControllers } = await podman.engine.info()
    const before = (await house.store.list()).length
    if (cgroupControllers.includes('memory')) {
      const id = await house.create({ limits: { memoryBytes: 134_217_728 } })
      expect(await house.inside(id, 'cat /sys/fs/cgroup/memory.max')).toBe('134217728')
      expect(await house.store.list()).toHaveLength(before + 1)
    } else {
      const created = house.create({ limits: { memoryBytes: 134_217_728 } })
      await expect(created).rejects.toMatchObject({ code: 'limit_unsupported' })
      expect(await house.store.list()).toHaveLength(before)
    }
  })
})
