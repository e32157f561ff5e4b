import { PassThrough, Readable } from 'node:stream'
import { pack } from 'tar-stream'
import { expect, it } from 'vitest'
import type { BuildSpec, EngineProgress } from '../../daemon/engine/engine.ts'
import { type GetSubject, Workshop } from './subject.ts'

/** What every engine promises about images. */
export function imageContract(subject: GetSubject): void {
  it('should build an image with labels, telling its steps', async () => {
    await using shop = new Workshop(subject())
    const spec = buildSpec(shop, ['RUN echo hello > /tmp/built'])
    const progress: EngineProgress[] = []
    const built = await shop.engine.image.build(spec, (step) => progress.push(step))
    expect(built).toMatchObject({ tags: [spec.tag], labels: spec.labels })
    expect(await shop.engine.image.inspect(spec.tag)).toMatchObject({ id: built.id, tags: [spec.tag] })
    expect(progress).toContainEqual(
      expect.objectContaining({
        message: expect.stringContaining('RUN echo hello'),
        step: 2,
        total: expect.any(Number),
      }),
    )
    await shop.engine.image.untag(spec.tag)
    expect(await shop.engine.image.inspect(built.id)).toBeUndefined()
  })

  it('should leave nothing of a build that fails, and say why', async () => {
    await using shop = new Workshop(subject())
    const spec = buildSpec(shop, ['RUN echo first > /tmp/one', 'RUN false'])
    await expect(shop.engine.image.build(spec, ignore)).rejects.toMatchObject({
      kind: 'build_failed',
      message: expect.stringContaining('RUN false'),
    })
    expect(await shop.engine.image.inspect(spec.tag)).toBeUndefined()
    expect(await shop.engine.image.list('localhost/loopat-build')).toEqual([])
  })

  it('should leave nothing of a build that is given up', async () => {
    await using shop = new Workshop(subject())
    const spec = buildSpec(shop, ['RUN echo second > /tmp/two', 'RUN sleep 30'])
    const reason = new Error('enough')
    const abort = new AbortController()
    const building = shop.engine.image.build(
      spec,
      ({ message }) => {
        if (message.startsWith('RUN sleep')) setTimeout(() => abort.abort(reason), 300)
      },
      abort.signal,
    )
    await expect(building).rejects.toBe(reason)
    expect(await shop.engine.image.inspect(spec.tag)).toBeUndefined()
    expect(await shop.engine.image.list('localhost/loopat-build')).toEqual([])
  })

  it('should fail a build whose recipe or context is broken', async () => {
    await using shop = new Workshop(subject())
    const { image } = shop.engine
    const spec = buildSpec(shop, [])
    await expect(image.build({ ...spec, containerfile: 'Missing' }, ignore)).rejects.toMatchObject({
      kind: 'build_failed',
    })
    const broken = new Readable({
      read() {
        this.destroy(new Error('disk on fire'))
      },
    })
    await expect(image.build({ ...spec, context: broken }, ignore)).rejects.toMatchObject({ kind: 'failed' })
    expect(await image.inspect(spec.tag)).toBeUndefined()
  })

  it('should build one image after another', async () => {
    await using shop = new Workshop(subject())
    const order: string[] = []
    const builds = ['1', '2', '3'].map((suffix) => {
      const spec = buildSpec(shop, [`RUN echo ${suffix} > /tmp/number`], suffix)
      return shop.engine.image.build(spec, ({ step }) => {
        if (step !== undefined && order.at(-1) !== suffix) order.push(suffix)
      })
    })
    await Promise.all(builds)
    expect(order).toEqual(['1', '2', '3'])
  })

  it('should tag, list and untag', async () => {
    await using shop = new Workshop(subject())
    const { image } = shop.engine
    const [one, two] = [shop.imageTag('one'), shop.imageTag('two')]
    const { id } = await image.build({ ...buildSpec(shop, ['RUN echo x > /tmp/x']), tag: one }, ignore)
    await image.tag(one, two)
    expect((await image.inspect(two))?.id).toBe(id)
    const listed = await image.list(one.slice(0, -3))
    expect(listed).toHaveLength(1)
    expect(new Set(listed[0]?.tags)).toEqual(new Set([one, two]))
    await image.untag(one)
    await image.untag(one)
    expect((await image.inspect(two))?.tags).toEqual([two])
    await expect(image.tag(one, two)).rejects.toMatchObject({ kind: 'not_found' })
  })

  it('should keep an image without name as long as a container uses it', async () => {
    await using shop = new Workshop(subject())
    const { image, container } = shop.engine
    const spec = buildSpec(shop, ['RUN echo used > /tmp/used'])
    const { id } = await image.build(spec, ignore)
    const name = await shop.running({ image: spec.tag })
    await image.untag(spec.tag)
    expect(await image.inspect(spec.tag)).toBeUndefined()
    expect(await container.inspect(name)).toMatchObject({ status: 'running', imageId: id })
    await container.remove(name)
    expect(await image.cleanUp()).toBeGreaterThan(0)
    expect(await image.inspect(id)).toBeUndefined()
  })

  it('should say that an image cannot be had', async () => {
    await using shop = new Workshop(subject())
    const missing = 'registry.invalid/loopat-test:1'
    await expect(shop.engine.image.pull(missing, ignore)).rejects.toMatchObject({ kind: 'image_unavailable' })
    expect(await shop.engine.image.inspect(missing)).toBeUndefined()
  })

  function buildSpec(shop: Workshop, lines: readonly string[], suffix = '1'): BuildSpec {
    const tag = shop.imageTag(suffix)
    return {
      context: contextOf([`FROM ${subject().image}`, ...lines].join('\n')),
      containerfile: 'Containerfile',
      tag,
      buildArgs: {},
      labels: { 'loopat.content-hash': tag },
    }
  }
}

function ignore(): void {
  // These tests look at the result.
}

/** A build context with one recipe. */
export function contextOf(recipe: string): Readable {
  const tar = pack()
  tar.entry({ name: 'Containerfile' }, `${recipe}\n`)
  tar.finalize()
  const context = new PassThrough()
  tar.pipe(context)
  return context
}
