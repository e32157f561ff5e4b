import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { type ContainerLimits, isEngineError, LIMIT_CONTROLLERS } from '../../daemon/engine/engine.ts'
import { type GetSubject, Workshop } from './subject.ts'

/** What every engine promises about containers. */
export function containerContract(subject: GetSubject): void {
  it('should take a container from creation to removal', async () => {
    await using shop = new Workshop(subject())
    const { container, image } = shop.engine
    const spec = shop.spec()
    const { id } = await container.create(spec)
    expect(await container.inspect(spec.name)).toMatchObject({
      id,
      name: spec.name,
      labels: spec.labels,
      status: 'created',
      imageId: (await image.inspect(subject().image))?.id,
      startedAt: undefined,
      finishedAt: undefined,
      exitCode: undefined,
      pid: 0,
      address: undefined,
    })

    await container.start(spec.name)
    const running = await container.inspect(id)
    expect(running).toMatchObject({ id, status: 'running', finishedAt: undefined, exitCode: undefined })
    expect(running?.pid).toBeGreaterThan(0)
    expect(Date.parse(running?.startedAt ?? '')).not.toBeNaN()

    await container.stop(spec.name, 1)
    const stopped = await container.inspect(spec.name)
    expect(stopped).toMatchObject({ status: 'exited', pid: 0 })
    expect(stopped?.exitCode).toBeTypeOf('number')
    expect(Date.parse(stopped?.finishedAt ?? '')).not.toBeNaN()

    await container.start(id)
    expect(await container.inspect(id)).toMatchObject({ status: 'running', finishedAt: undefined })
    await container.remove(spec.name)
    expect(await container.inspect(spec.name)).toBeUndefined()
  })

  it('should take what is so already for a success', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    await shop.engine.container.start(name)
    await shop.engine.container.stop(name, 1)
    await shop.engine.container.stop(name, 1)
    await shop.engine.container.remove(name)
    await shop.engine.container.remove(name)
  })

  it('should say that there is no such container', async () => {
    await using shop = new Workshop(subject())
    const { container } = shop.engine
    const name = shop.containerName('missing')
    expect(await container.inspect(name)).toBeUndefined()
    await expect(container.start(name)).rejects.toMatchObject({ kind: 'not_found' })
    await expect(container.stop(name, 1)).rejects.toMatchObject({ kind: 'not_found' })
    await expect(shop.exec(name, 'true')).rejects.toMatchObject({ kind: 'not_found' })
  })

  it('should say that there is no such image', async () => {
    await using shop = new Workshop(subject())
    const spec = shop.spec({ image: 'localhost/loopat-test-missing:1' })
    await expect(shop.engine.container.create(spec)).rejects.toMatchObject({ kind: 'not_found' })
  })

  it('should let one of many win a name', async () => {
    await using shop = new Workshop(subject())
    const spec = shop.spec()
    const results = await Promise.allSettled(Array.from({ length: 6 }, () => shop.engine.container.create(spec)))
    const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
    expect(lost).toHaveLength(5)
    expect(lost.filter((error) => !isEngineError(error, 'name_taken'))).toEqual([])
    expect(await shop.engine.container.list(shop.labels)).toHaveLength(1)
  })

  it('should list what carries all the labels, in every state', async () => {
    await using shop = new Workshop(subject())
    const { container } = shop.engine
    const one = shop.spec({ name: shop.containerName('one'), labels: { ...shop.labels, kind: 'a' } })
    const two = shop.spec({ name: shop.containerName('two'), labels: { ...shop.labels, kind: 'b' } })
    await container.create(one)
    await container.create(two)
    await container.start(two.name)
    const all = await container.list(shop.labels)
    expect(new Map(all.map(({ name, status }) => [name, status]))).toEqual(
      new Map([
        [one.name, 'created'],
        [two.name, 'running'],
      ]),
    )
    expect(await container.list({ ...shop.labels, kind: 'b' })).toMatchObject([{ name: two.name, labels: two.labels }])
    expect(await container.list({ ...shop.labels, kind: 'c' })).toEqual([])
  })

  it('should give a container another name, and free the old one', async () => {
    await using shop = new Workshop(subject())
    const { container } = shop.engine
    const [one, two] = [shop.containerName('one'), shop.containerName('two')]
    const { id } = await container.create(shop.spec({ name: one }))
    await container.rename(one, two)
    expect(await container.inspect(one)).toBeUndefined()
    expect(await container.inspect(two)).toMatchObject({ id, name: two, labels: shop.labels })
    await container.create(shop.spec({ name: one }))
    await expect(container.rename(one, two)).rejects.toMatchObject({ kind: 'name_taken' })
    await expect(container.rename(shop.containerName('missing'), two)).rejects.toMatchObject({ kind: 'not_found' })
    expect(await container.inspect(one)).toMatchObject({ name: one })
  })

  it('should make an image of a stopped container', async () => {
    await using shop = new Workshop(subject())
    const { container, image } = shop.engine
    const tag = shop.imageTag('layer')
    const name = await shop.running()
    await container.stop(name, 0)
    await container.commit(name, tag)
    const first = await image.inspect(tag)
    expect(first?.tags).toEqual([tag])
    await image.untag(tag)
    await container.commit(name, tag)
    expect((await image.inspect(tag))?.tags).toEqual([tag])
    await container.create(shop.spec({ name: shop.containerName('again'), image: tag }))
    await expect(container.commit(shop.containerName('missing'), tag)).rejects.toMatchObject({ kind: 'not_found' })
  })

  it('should tell the exit code of a container that ended by itself', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running({ command: ['/bin/sh', '-c', 'exit 7'] })
    await expect
      .poll(() => shop.engine.container.inspect(name), { timeout: 10_000 })
      .toMatchObject({ status: 'exited', exitCode: 7 })
  })

  it('should refuse a mount whose source is missing, at creation and at start', async () => {
    await using shop = new Workshop(subject())
    const { container } = shop.engine
    const source = await mkdtemp(join(subject().directory, 'mount-'))
    const spec = shop.spec({ mounts: [{ source, target: '/mnt', readOnly: false }] })
    await rm(source, { recursive: true })
    await expect(container.create(spec)).rejects.toMatchObject({ kind: 'mount_missing' })
    expect(await container.inspect(spec.name)).toBeUndefined()

    const later = await mkdtemp(join(subject().directory, 'mount-'))
    await container.create({ ...spec, mounts: [{ source: later, target: '/mnt', readOnly: false }] })
    await rm(later, { recursive: true })
    await expect(container.start(spec.name)).rejects.toMatchObject({ kind: 'mount_missing' })
  })

  it('should refuse paths that cannot be mounted', async () => {
    await using shop = new Workshop(subject())
    for (const path of ['/tmp/a:b', '/tmp/a,b', '/tmp/a\nb', 'tmp']) {
      const spec = shop.spec({ mounts: [{ source: '/tmp', target: path, readOnly: false }] })
      await expect(shop.engine.container.create(spec)).rejects.toMatchObject({ kind: 'failed' })
    }
  })

  it('should take the limits that the host can enforce, and refuse the others', async () => {
    await using shop = new Workshop(subject())
    const { cgroupControllers } = await shop.engine.info()
    const limits: ContainerLimits[] = [{ memoryBytes: 67_108_864 }, { cpus: 0.5 }, { pids: 64 }]
    for (const limit of limits) {
      const [name] = Object.keys(limit) as (keyof typeof LIMIT_CONTROLLERS)[]
      const spec = shop.spec({ name: shop.containerName(String(name)), limits: limit })
      const created = shop.engine.container.create(spec)
      if (name !== undefined && cgroupControllers.includes(LIMIT_CONTROLLERS[name])) await created
      else await expect(created).rejects.toMatchObject({ kind: 'limit_unsupported' })
    }
  })

  it('should refuse a network that is missing', async () => {
    await using shop = new Workshop(subject())
    const network = { kind: 'named', name: shop.networkName('missing'), aliases: [] } as const
    await expect(shop.engine.container.create(shop.spec({ network }))).rejects.toMatchObject({ kind: 'network_stale' })
  })

  it('should end a call by the reason of its signal', async () => {
    await using shop = new Workshop(subject())
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    await expect(shop.engine.container.list({}, signal)).rejects.toBe(reason)
    await expect(shop.engine.container.create(shop.spec(), signal)).rejects.toBe(reason)
    await expect(shop.engine.ping(signal)).rejects.toBe(reason)
  })
}
