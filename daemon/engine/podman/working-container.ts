import { isEngineError } from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { pathOf } from './docker.ts'
import { externalContainers, read } from './schema.ts'

/** How podman names what a build works in. */
const NAME = /-working-container(-\d+)?$/

/** What podman says that it runs; the second as long as, or because, its maker had no time to say what it is. */
const COMMANDS = new Set(['buildah', 'storage'])

/** A container in which a build works, or worked when it was interrupted. The Docker-compatible API does not show them. */
export interface WorkingContainer {
  readonly id: string
  readonly name: string
  /** Name of the image it was made from; made up by podman for the layers of a build. */
  readonly image: string
  readonly imageId: string
  /** Milliseconds since the epoch. */
  readonly createdMs: number
}

/** Lists the working containers of all builds, of whomever. */
export async function listWorkingContainers(api: PodmanApi, signal?: AbortSignal): Promise<WorkingContainer[]> {
  const what = 'list working containers'
  const path = '/v4.0.0/libpod/containers/json'
  const query = { all: true, external: true }
  const answer = await api.call({ method: 'GET', path, query, ok: [200], what, repeatable: true }, signal)
  return read(externalContainers, answer, what).flatMap((found) => {
    const name = found.Names?.[0] ?? ''
    if (!NAME.test(name) || !COMMANDS.has(found.Command?.[0] ?? '')) return []
    return [
      {
        id: found.Id,
        name,
        image: found.Image,
        imageId: found.ImageID,
        createdMs: Date.parse(found.Created),
      },
    ]
  })
}

/** Removes a working container. @returns whether it was there */
export async function removeWorkingContainer(api: PodmanApi, id: string, signal?: AbortSignal): Promise<boolean> {
  const what = `remove working container ${id}`
  const path = `/v4.0.0/libpod/containers${pathOf(id)}`
  try {
    const query = { force: true }
    await api.call({ method: 'DELETE', path, query, ok: [200, 204], what, repeatable: true }, signal)
    return true
  } catch (error) {
    if (isEngineError(error, 'not_found')) return false
    throw error
  }
}
