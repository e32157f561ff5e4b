import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BuildSpec } from '../../daemon/engine/engine.ts'
import { createPodmanEngine } from '../../daemon/engine/podman/podman-engine.ts'
import { contextOf } from '../contract/image.ts'
import { skipsPodman, smallImage, startPodman, type TestImage, type TestPodman } from '../harness/podman.ts'
import { ask } from '../harness/podman-ask.ts'

describe.skipIf(skipsPodman())('builds', () => {
  const opened: { podman: TestPodman; image: TestImage }[] = []
  const subject = () => {
    const [first] = opened
    if (first === undefined) throw new Error('podman was not started')
    return first
  }

  beforeAll(async () => {
    const podman = await startPodman()
    podman.service.supervise(() => undefined)
    // What an earlier run that was killed may have left.
    await podman.engine.image.cleanUp()
    opened.push({ podman, image: await smallImage(podman.engine) })
  })

  afterAll(async () => {
    for (const { podman, image } of opened) {
      await image[Symbol.asyncDispose]()
      await podman[Symbol.asyncDispose]()
    }
  })

  it('should leave no layer and no working container of a build that fails', async () => {
    const before = await inventory()
    const spec = buildSpec(['RUN echo one > /tmp/one', 'RUN echo two > /tmp/two', 'RUN exit 3'])
    await expect(subject().podman.engine.image.build(spec, ignore)).rejects.toMatchObject({
      kind: 'build_failed',
      message: expect.stringContaining('exit status 3'),
    })
    expect(await inventory()).toEqual(before)
  })

  it('should leave nothing of a build that is given up, not even its running step', async () => {
    const before = await inventory()
    const seconds = 100_000 + (randomBytes(2).readUInt16BE() % 10_000)
    const spec = buildSpec(['RUN echo one > /tmp/one', `RUN sleep ${seconds}`])
    const abort = new AbortController()
    const building = subject().podman.engine.image.build(spec, ignore, abort.signal)
    await expect.poll(() => processes(), { timeout: 20_000 }).toContain(`sleep ${seconds}`)
    abort.abort(new Error('enough'))
    await expect(building).rejects.toThrow('enough')
    expect(processes()).not.toContain(`sleep ${seconds}`)
    expect(await inventory()).toEqual(before)
  })

  it('should not give the name to a build whose context was cut off', async () => {
    const before = await inventory()
    const spec = buildSpec(['RUN echo one > /tmp/one'])
    const whole = await buffer(spec.context)
    const cut = Readable.from([whole.subarray(0, whole.length - 1024)])
    await expect(subject().podman.engine.image.build({ ...spec, context: cut }, ignore)).rejects.toMatchObject({
      kind: 'failed',
    })
    expect(await subject().podman.engine.image.inspect(spec.tag)).toBeUndefined()
    expect(await inventory()).toEqual(before)
  })

  it('should report a build as lost when podman ends, and clean up after it later', async () => {
    const { podman } = subject()
    const before = await inventory()
    // A layer as podman leaves it when it is killed before it takes the name away that it had while it was written.
    const { image } = podman.engine
    const layer = buildSpec(['RUN echo layer > /tmp/layer'])
    await image.build(layer, ignore)
    await image.tag(layer.tag, `localhost/${'0123456789abcdef'.repeat(4)}-tmp:latest`)
    await image.untag(layer.tag)
    const spec = buildSpec(['RUN echo one > /tmp/one', 'RUN sleep 100'])
    const building = image.build(spec, ({ message }) => {
      if (message.startsWith('RUN sleep')) setTimeout(() => void podman.kill(), 300)
    })
    await expect(building).rejects.toMatchObject({ kind: 'connection_lost' })
    await podman.engine.ping()
    // What a daemon that starts afterwards does.
    await createPodmanEngine({ socketPath: podman.socketPath }).image.cleanUp()
    expect(await inventory()).toEqual(before)
    expect(await podman.engine.image.inspect(spec.tag)).toBeUndefined()
  })

  it('should not be disturbed by a daemon that starts beside it and cleans up', async () => {
    const { podman } = subject()
    const spec = buildSpec(['RUN echo one > /tmp/one', 'RUN sleep 2; echo two > /tmp/two', 'RUN cat /tmp/one /tmp/two'])
    const others: Promise<number>[] = []
    const building = podman.engine.image.build(spec, ({ message }) => {
      // Made anew, it knows nothing of the build.
      const other = () => createPodmanEngine({ socketPath: podman.socketPath }).image.cleanUp()
      if (message.startsWith('RUN sleep')) others.push(sleep(500).then(other))
    })
    const { id } = await building
    expect(await Promise.all(others)).toHaveLength(1)
    expect((await podman.engine.image.inspect(spec.tag))?.id).toBe(id)
    await podman.engine.image.untag(spec.tag)
    await podman.engine.image.cleanUp()
  })

  it('should not fetch a base image that a local name lacks', async () => {
    const spec = { ...buildSpec([]), context: contextOf('FROM localhost/loopat-test-missing:1\nRUN true') }
    await expect(subject().podman.engine.image.build(spec, ignore)).rejects.toMatchObject({ kind: 'image_unavailable' })
  })

  function buildSpec(lines: readonly string[]): BuildSpec {
    const hash = randomBytes(8).toString('hex')
    return {
      context: contextOf([`FROM ${subject().image.tag}`, ...lines].join('\n')),
      containerfile: 'Containerfile',
      tag: `localhost/loopat-test-build:${hash}`,
      buildArgs: {},
      labels: { 'loopat.content-hash': hash },
    }
  }

  /** Everything that podman has of images and containers, also of what it hides. */
  async function inventory(): Promise<unknown> {
    const { socketPath } = subject().podman
    const containers = await ask(socketPath, '/v4.0.0/libpod/containers/json?all=true&external=true')
    const images = await ask(socketPath, '/v4.0.0/libpod/images/json?all=true')
    const ids = (list: unknown) => (Array.isArray(list) ? list.map(({ Id }) => Id).sort() : list)
    const files = (await readdir('/var/tmp')).filter((name) => /^(buildah|libpod|storage)/.test(name))
    const own = []
    for (const name of files) if ((await stat(`/var/tmp/${name}`)).uid === process.getuid?.()) own.push(name)
    return { containers: ids(containers), images: ids(images), files: own }
  }
})

function processes(): string {
  return execFileSync('ps', ['-e', '-o', 'stat,args'])
    .toString()
    .split('\n')
    .filter((line) => !line.startsWith('Z'))
    .join('\n')
}

function ignore(): void {
  // These tests look at what is left.
}
