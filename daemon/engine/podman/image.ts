import type { Readable } from 'node:stream'
import {
  type BuildSpec,
  EngineError,
  type ImageDetails,
  type ImageEngine,
  isEngineError,
  type ProgressSink,
} from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { buildImage } from './build.ts'
import { BuildQueue } from './build-queue.ts'
import { cleanUpBuilds } from './clean-up.ts'
import { fromStreamError } from './error.ts'
import { splitName } from './image-name.ts'
import { ImageStore } from './image-store.ts'
import { parseLine, readLines } from './ndjson.ts'

/** How long podman may take to hear from a registry, which it does not show, in milliseconds. */
const REGISTRY_MS = 300_000

/** How long podman may take to read an imported file system before it puts it into its store, in milliseconds. */
const READ_MS = 120_000

/** Images through the Docker-compatible API, and podman's own where that one lacks something. */
export class PodmanImages implements ImageEngine {
  readonly #api: PodmanApi
  readonly #env: NodeJS.ProcessEnv | undefined
  readonly #store: ImageStore
  readonly #queue = new BuildQueue()
  /** When this object was made; what is older was left by somebody before. */
  readonly #sinceMs = Date.now()

  /** @param env environment of the programs of this host, undefined for that of this process */
  constructor(api: PodmanApi, env: NodeJS.ProcessEnv | undefined) {
    this.#api = api
    this.#env = env
    this.#store = new ImageStore(api)
  }

  inspect(image: string, signal?: AbortSignal): Promise<ImageDetails | undefined> {
    return this.#store.inspect(image, signal)
  }

  async list(namePrefix: string, signal?: AbortSignal): Promise<ImageDetails[]> {
    const all = await this.#store.list(signal)
    return all.filter(({ tags }) => tags.some((tag) => tag.startsWith(namePrefix)))
  }

  async pull(image: string, onProgress: ProgressSink, signal?: AbortSignal): Promise<void> {
    const { repo, tag } = splitName(image)
    const what = `pull ${image}`
    const query = { fromImage: repo, tag }
    try {
      const stream = await this.#api.stream(
        { method: 'POST', path: '/images/create', query, ok: [200], what, repeatable: true, idleMs: REGISTRY_MS },
        signal,
      )
      for await (const line of readLines(stream)) {
        const { error, status, id } = parseLine(line)
        if (typeof error === 'string') throw fromStreamError(error, what, 'image_unavailable')
        if (typeof status === 'string') onProgress({ message: typeof id === 'string' ? `${status} ${id}` : status })
      }
    } catch (error) {
      signal?.throwIfAborted()
      // Podman 5 gives the innermost reason alone (`connection refused`), which says nothing about images.
      if (!isEngineError(error, 'failed', 'not_found')) throw error
      throw new EngineError('image_unavailable', error.message, { cause: error })
    }
    if ((await this.inspect(image, signal)) === undefined) {
      throw new EngineError('image_unavailable', `podman pulled ${image} but does not have it`)
    }
  }

  build(spec: BuildSpec, onProgress: ProgressSink, signal?: AbortSignal): Promise<ImageDetails> {
    const deps = { api: this.#api, images: this.#store, env: this.#env }
    return this.#queue.run(() => buildImage(deps, spec, onProgress, signal), onProgress, signal)
  }

  async import(rootfs: Readable, tag: string, signal?: AbortSignal): Promise<ImageDetails> {
    splitName(tag)
    const what = `import ${tag}`
    const before = await this.inspect(tag, signal)
    let unreadable: unknown
    rootfs.once('error', (error) => {
      unreadable = error
    })
    try {
      // The Docker-compatible way leaves the whole tar in /var/tmp.
      const path = '/v4.0.0/libpod/images/import'
      const query = { reference: tag }
      const call = {
        method: 'POST',
        path,
        query,
        upload: rootfs,
        ok: [200],
        what,
        repeatable: false,
        idleMs: READ_MS,
      } as const
      await this.#api.call(call, signal)
    } catch (error) {
      if (unreadable === undefined || signal?.aborted) throw error
      throw new EngineError('failed', `the root file system of ${tag} cannot be read`, { cause: unreadable })
    } finally {
      rootfs.destroy()
    }
    const imported = await this.inspect(tag, signal)
    if (imported === undefined) throw new EngineError('failed', `podman imported ${tag} but does not have it`)
    if (before !== undefined && before.id !== imported.id) await this.#store.removeUnused(before.id, signal)
    return imported
  }

  tag(image: string, tag: string, signal?: AbortSignal): Promise<void> {
    return this.#store.tag(image, tag, signal)
  }

  async untag(tag: string, signal?: AbortSignal): Promise<void> {
    const id = await this.#store.untag(tag, signal)
    if (id !== undefined) await this.#store.removeUnused(id, signal)
  }

  cleanUp(signal?: AbortSignal): Promise<number> {
    return this.#queue.run(
      () => cleanUpBuilds({ api: this.#api, images: this.#store, env: this.#env }, this.#sinceMs, signal),
      () => undefined,
      signal,
    )
  }
}
