import { access } from 'node:fs/promises'
import { BUILD_REPO, type BuildDeps } from './build.ts'
import { oldestMakerMs, removeBuildFiles } from './build-files.ts'
import { endAbandonedSteps } from './build-orphan.ts'
import { splitName } from './image-name.ts'
import { listWorkingContainers, removeWorkingContainer } from './working-container.ts'

/** The label that every image of ours carries, and with it every layer of its build. */
const OUR_LABEL = 'loopat.content-hash'

/** The name that a layer has while podman writes it. */
const LAYER_NAME = /\/[0-9a-f]{64}-tmp:latest$/

/** No build takes so long, in milliseconds. */
const LONGEST_BUILD_MS = 6 * 3_600_000

/** Repositories of ours. */
const OUR_IMAGES = 'localhost/loopat-'

/**
 * Removes what builds left that were interrupted by the end of a daemon or of podman: running steps, working containers
 * made from images of ours, names of builds whose daemon is gone and of layers whose podman is, nameless layers with our
 * label that nothing uses, and files that only podman itself could still have needed.
 * @param beforeMs only working containers and layers older than this, in milliseconds since the epoch, and older than any podman
 * that could still be at work in them, perhaps for another workspace
 * @returns how many things were removed
 */
export async function cleanUpBuilds(deps: BuildDeps, beforeMs: number, signal?: AbortSignal): Promise<number> {
  const youngestMs = Math.min(beforeMs, Math.max(await oldestMakerMs(), Date.now() - LONGEST_BUILD_MS))
  let removed = await endAbandonedSteps(deps.env)
  await deps.images.removeHalfWritten(signal)
  for (const tag of await listAbandonedNames(deps, youngestMs, signal)) {
    const id = await deps.images.untag(tag, signal)
    if (id !== undefined) removed += 1
  }
  // Podman counts a layer as dangling only when no other layer is built on it: what is removed uncovers the next one.
  const tried = new Set<string>()
  for (let count = 1; count > 0; removed += count) count = await removeTopLayers(deps, { youngestMs, tried }, signal)
  return removed + (await removeBuildFiles())
}

interface Round {
  readonly youngestMs: number
  /** Working containers that were removed; podman is not asked for them again, so that this has an end. */
  readonly tried: Set<string>
}

/** Removes dangling layers of ours and the working containers that are made from them, or from images with a name of ours. */
async function removeTopLayers(
  { api, images }: BuildDeps,
  { youngestMs, tried }: Round,
  signal: AbortSignal | undefined,
): Promise<number> {
  let removed = 0
  const layers = new Set((await images.listDangling([OUR_LABEL], signal)).map(({ id }) => id))
  for (const found of await listWorkingContainers(api, signal)) {
    const isOurs = found.image.startsWith(OUR_IMAGES) || layers.has(found.imageId)
    if (!isOurs || found.createdMs >= youngestMs || tried.has(found.id)) continue
    tried.add(found.id)
    if (await removeWorkingContainer(api, found.id, signal)) removed += 1
  }
  for (const id of layers) if (await images.removeUnused(id, signal)) removed += 1
  return removed
}

async function listAbandonedNames(
  { images }: BuildDeps,
  youngestMs: number,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const abandoned: string[] = []
  for (const { id, tags, labels } of await images.list(signal)) {
    for (const tag of tags) {
      if (tag.startsWith(`${BUILD_REPO}:`)) {
        const pid = Number.parseInt(splitName(tag).tag, 10)
        if (pid !== process.pid && !(await isAlive(pid))) abandoned.push(tag)
      } else if (LAYER_NAME.test(tag) && labels[OUR_LABEL] !== undefined) {
        // Lists tell whole seconds only.
        const layer = await images.inspect(id, signal)
        if (layer !== undefined && Date.parse(layer.createdAt) < youngestMs) abandoned.push(tag)
      }
    }
  }
  return abandoned
}

async function isAlive(pid: number): Promise<boolean> {
  try {
    await access(`/proc/${pid}`)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}
