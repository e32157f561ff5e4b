import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { extract } from 'tar-stream'
import {
  type BuildSpec,
  EngineError,
  type ImageDetails,
  type ImageEngine,
  type Labels,
  type ProgressSink,
} from '../../daemon/engine/engine.ts'
import type { FaultPlan } from './fault.ts'

interface FakeImage {
  readonly id: string
  readonly tags: Set<string>
  readonly labels: Labels
  readonly sizeBytes: number
  readonly createdAt: string
}

/**
 * The images of a fake engine. A build reads its context; a recipe line `RUN false` fails it, `RUN sleep …` waits until
 * its signal aborts. Only images added with {@link FakeImages.publish} can be pulled.
 */
export class FakeImages implements ImageEngine {
  readonly #faults: FaultPlan
  readonly #isUsed: (imageId: string) => boolean
  readonly #images = new Map<string, FakeImage>()
  readonly #registry = new Set<string>()
  #queue: Promise<unknown> = Promise.resolve()

  /** @param isUsed reports whether a container was made from the image */
  constructor(faults: FaultPlan, isUsed: (imageId: string) => boolean) {
    this.#faults = faults
    this.#isUsed = isUsed
  }

  /** Puts an image into the store. */
  add(tag: string, labels: Labels = {}, sizeBytes = 1024): ImageDetails {
    const image: FakeImage = {
      id: randomBytes(32).toString('hex'),
      tags: new Set(),
      labels,
      sizeBytes,
      createdAt: new Date().toISOString(),
    }
    this.#images.set(image.id, image)
    this.#moveTag(tag, image)
    return toDetails(image)
  }

  /** Makes `image` available to {@link FakeImages.pull}. */
  publish(image: string): void {
    this.#registry.add(image)
  }

  /** The image of this tag or id. */
  find(name: string): ImageDetails | undefined {
    const image = this.#find(name)
    return image === undefined ? undefined : toDetails(image)
  }

  inspect(image: string, signal?: AbortSignal): Promise<ImageDetails | undefined> {
    return this.#faults.run({ operation: 'image.inspect', subject: image, signal, body: () => this.find(image) })
  }

  list(namePrefix: string, signal?: AbortSignal): Promise<ImageDetails[]> {
    const body = () =>
      [...this.#images.values()]
        .filter((image) => [...image.tags].some((tag) => tag.startsWith(namePrefix)))
        .map(toDetails)
    return this.#faults.run({ operation: 'image.list', subject: namePrefix, signal, body })
  }

  pull(image: string, onProgress: ProgressSink, signal?: AbortSignal): Promise<void> {
    const body = () => {
      if (!this.#registry.has(image)) throw new EngineError('image_unavailable', `${image} is in no registry`)
      onProgress({ message: `Pulling ${image}` })
      this.add(image)
    }
    return this.#faults.run({ operation: 'image.pull', subject: image, signal, body })
  }

  build(spec: BuildSpec, onProgress: ProgressSink, signal?: AbortSignal): Promise<ImageDetails> {
    const body = async () => {
      const turn = this.#queue.then(() => this.#build(spec, onProgress, signal))
      this.#queue = turn.catch((error: unknown) => error)
      return await turn
    }
    return this.#faults.run({ operation: 'image.build', subject: spec.tag, signal, body })
  }

  import(rootfs: Readable, tag: string, signal?: AbortSignal): Promise<ImageDetails> {
    const body = async () => {
      let size = 0
      for await (const chunk of rootfs) size += Buffer.from(chunk).length
      signal?.throwIfAborted()
      return this.add(tag, {}, size)
    }
    return this.#faults.run({ operation: 'image.import', subject: tag, signal, body })
  }

  tag(image: string, tag: string, signal?: AbortSignal): Promise<void> {
    const body = () => {
      const found = this.#find(image)
      if (found === undefined) throw new EngineError('not_found', `no image ${image}`)
      this.#moveTag(tag, found)
    }
    return this.#faults.run({ operation: 'image.tag', subject: tag, signal, body })
  }

  untag(tag: string, signal?: AbortSignal): Promise<void> {
    const body = () => {
      const found = this.#find(tag)
      if (found === undefined) return
      found.tags.delete(tag)
      if (found.tags.size === 0 && !this.#isUsed(found.id)) this.#images.delete(found.id)
    }
    return this.#faults.run({ operation: 'image.untag', subject: tag, signal, body })
  }

  cleanUp(signal?: AbortSignal): Promise<number> {
    const body = () => {
      const dangling = [...this.#images.values()].filter((image) => image.tags.size === 0 && !this.#isUsed(image.id))
      for (const image of dangling) this.#images.delete(image.id)
      return dangling.length
    }
    return this.#faults.run({ operation: 'image.cleanUp', subject: '', signal, body })
  }

  async #build(spec: BuildSpec, onProgress: ProgressSink, signal: AbortSignal | undefined): Promise<ImageDetails> {
    signal?.throwIfAborted()
    const recipe = await readEntry(spec.context, spec.containerfile)
    if (recipe === undefined) throw new EngineError('build_failed', `the context has no ${spec.containerfile}`)
    const steps = recipe.split('\n').filter((line) => /^[A-Z]+ /.test(line))
    for (const [index, line] of steps.entries()) {
      onProgress({ message: line, step: index + 1, total: steps.length })
      if (line.startsWith('RUN false')) throw new EngineError('build_failed', `${line}: exit status 1`)
      if (line.startsWith('RUN sleep')) await untilAborted(signal)
      await Promise.resolve()
      signal?.throwIfAborted()
    }
    const { id } = this.add(spec.tag, spec.labels)
    return { ...toDetails(this.#mustFind(id)) }
  }

  #find(name: string): FakeImage | undefined {
    return this.#images.get(name) ?? [...this.#images.values()].find((image) => image.tags.has(name))
  }

  #mustFind(id: string): FakeImage {
    const image = this.#images.get(id)
    if (image === undefined) throw new EngineError('not_found', `no image ${id}`)
    return image
  }

  #moveTag(tag: string, to: FakeImage): void {
    for (const image of this.#images.values()) image.tags.delete(tag)
    to.tags.add(tag)
  }
}

function toDetails(image: FakeImage): ImageDetails {
  return { ...image, tags: [...image.tags] }
}

/** Content of one file of a tar; reads the tar to its end. */
async function readEntry(tar: Readable, name: string): Promise<string | undefined> {
  const unpack = extract()
  const failed = new Promise<never>((_, reject) => {
    tar.once('error', (error) => {
      unpack.destroy(error)
      reject(new EngineError('failed', 'the context cannot be read', { cause: error }))
    })
  })
  tar.pipe(unpack)
  return await Promise.race([collect(unpack, name), failed])
}

async function collect(unpack: ReturnType<typeof extract>, name: string): Promise<string | undefined> {
  let content: string | undefined
  for await (const entry of unpack) {
    const chunks: Buffer[] = []
    for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk)
    if (entry.header.name.replace(/^\.\//, '') === name) content = Buffer.concat(chunks).toString()
  }
  return content
}

async function untilAborted(signal: AbortSignal | undefined): Promise<never> {
  return await new Promise((_, reject) => {
    if (signal === undefined) return
    const onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
}
