import { setTimeout as sleep } from 'node:timers/promises'
import { type ImageDetails, isEngineError, type Labels } from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { plainId } from './container.ts'
import type { Query } from './docker.ts'
import { readBrokenImage } from './error.ts'
import { imagePath, splitName } from './image-name.ts'
import { imageDetails, imageSummaries, read } from './schema.ts'

/** What podman calls an image without a name in answers. */
const NO_NAME = '<none>:<none>'

/** Longest that podman takes from an image's first trace in the store until it can be read, in milliseconds. */
const WRITE_MS = 1000

/** Time between two attempts to list images meanwhile, in milliseconds. */
const RETRY_MS = 100

/** The plain operations on stored images, shared by building, importing and cleaning up. */
export class ImageStore {
  readonly #api: PodmanApi

  constructor(api: PodmanApi) {
    this.#api = api
  }

  async inspect(image: string, signal?: AbortSignal): Promise<ImageDetails | undefined> {
    const what = `inspect image ${image}`
    const path = `/images${imagePath(image)}/json`
    try {
      const answer = await this.#api.call({ method: 'GET', path, ok: [200], what, repeatable: true }, signal)
      const found = read(imageDetails, answer, what)
      return {
        id: plainId(found.Id),
        tags: (found.RepoTags ?? []).filter((tag) => tag !== NO_NAME),
        labels: found.Config?.Labels ?? {},
        sizeBytes: found.Size,
        createdAt: found.Created,
      }
    } catch (error) {
      if (isEngineError(error, 'not_found')) return undefined
      throw error
    }
  }

  /** Named images. */
  async list(signal?: AbortSignal): Promise<ImageDetails[]> {
    return (await this.#query({}, signal)).map(toImage)
  }

  /**
   * Images without name and without children that carry the label (`name` or `name=value`). Podman's own notion overlooks
   * some that it left when it was killed.
   */
  async listDangling(label: readonly string[], signal?: AbortSignal): Promise<ImageDetails[]> {
    const all = await this.#query({ all: true, filters: JSON.stringify({ label }) }, signal)
    const parents = new Set(all.map(({ ParentId }) => ParentId && plainId(ParentId)))
    return all.map(toImage).filter(({ id, tags }) => tags.length === 0 && !parents.has(id))
  }

  /** Removes images that podman was writing when it was killed. Most lists leave them out; this one fails for each of them. */
  async removeHalfWritten(signal?: AbortSignal): Promise<void> {
    const what = 'list all images'
    const path = '/v4.0.0/libpod/images/json'
    const call = { method: 'GET', path, query: { all: true }, ok: [200], what, repeatable: true } as const
    await this.#withoutHalfWritten(() => this.#api.call(call, signal), signal)
  }

  async tag(image: string, tag: string, signal?: AbortSignal): Promise<void> {
    const what = `tag image ${image} as ${tag}`
    const path = `/images${imagePath(image)}/tag`
    const query = { ...splitName(tag) }
    await this.#api.call({ method: 'POST', path, query, ok: [200, 201], what, repeatable: true }, signal)
  }

  /** Takes a name away. @returns the id of the image that had it, undefined when none had */
  async untag(tag: string, signal?: AbortSignal): Promise<string | undefined> {
    const found = await this.inspect(tag, signal)
    if (found === undefined) return undefined
    const what = `untag image ${tag}`
    // The Docker-compatible way would also delete the image, or refuse when a container uses it.
    const path = `/v4.0.0/libpod/images${imagePath(tag)}/untag`
    const query = { ...splitName(tag) }
    await this.#api.call({ method: 'POST', path, query, ok: [200, 201, 404], what, repeatable: true }, signal)
    return found.id
  }

  /**
   * Removes an image that has no name any more and that nothing uses, with its nameless parents.
   * @returns whether it is gone; one that is named or used stays
   */
  async removeUnused(id: string, signal?: AbortSignal): Promise<boolean> {
    const found = await this.inspect(id, signal)
    if (found === undefined || found.tags.length > 0) return false
    const what = `remove image ${id}`
    const path = `/images${imagePath(id)}`
    try {
      await this.#api.call({ method: 'DELETE', path, ok: [200, 404], what, repeatable: true }, signal)
      // Podman keeps one that has children, and says nothing of that.
      return (await this.inspect(id, signal)) === undefined
    } catch (error) {
      if (isEngineError(error, 'in_use')) return false
      throw error
    }
  }

  async #query(query: Query, signal: AbortSignal | undefined) {
    const what = 'list images'
    const call = { method: 'GET', path: '/images/json', query, ok: [200], what, repeatable: true } as const
    const answer = await this.#withoutHalfWritten(() => this.#api.call(call, signal), signal)
    return read(imageSummaries, answer, what)
  }

  /**
   * Asks for images. As long as there is one that podman was writing when it was killed, podman lists none to anybody;
   * nobody can use it, and so it is removed.
   */
  async #withoutHalfWritten<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    let found: string | undefined
    const removed = new Set<string>()
    for (let since = 0; ; await sleep(RETRY_MS)) {
      signal?.throwIfAborted()
      try {
        return await ask()
      } catch (error) {
        const id = isEngineError(error) ? readBrokenImage(error) : undefined
        // One that stays although podman says that it is removed would be removed for ever.
        if (id === undefined || removed.has(id)) throw error
        if (id !== found) since = performance.now()
        else if (performance.now() - since > WRITE_MS) {
          await this.#removeHalfWritten(id, signal)
          removed.add(id)
        }
        found = id
      }
    }
  }

  async #removeHalfWritten(id: string, signal?: AbortSignal): Promise<void> {
    const what = `remove half-written image ${id}`
    const path = `/images${imagePath(id)}`
    await this.#api.call({ method: 'DELETE', path, ok: [200, 404], what, repeatable: true }, signal)
  }
}

function toImage(found: ReturnType<typeof imageSummaries.parse>[number]): ImageDetails {
  return {
    id: plainId(found.Id),
    tags: (found.RepoTags ?? []).filter((tag) => tag !== NO_NAME),
    labels: found.Labels,
    sizeBytes: found.Size,
    createdAt: new Date(found.Created * 1000).toISOString(),
  }
}

/** Labels as a filter wants them. */
export function toFilter(labels: Labels): string[] {
  return Object.entries(labels).map(([name, value]) => `${name}=${value}`)
}
