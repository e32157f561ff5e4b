import { randomBytes } from 'node:crypto'
import { pipeline } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BuildSpec,
  EngineError,
  type ImageDetails,
  isEngineError,
  type Labels,
  type ProgressSink,
} from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { BuildLog } from './build-log.ts'
import { killBuildSteps } from './build-step.ts'
import { type ImageStore, toFilter } from './image-store.ts'
import { parseLine, readLines } from './ndjson.ts'
import { TarGuard } from './tar-guard.ts'
import { listWorkingContainers, removeWorkingContainer, type WorkingContainer } from './working-container.ts'

/** Repository of the names that images have while they are built. Followed by the daemon's pid and something random. */
export const BUILD_REPO = 'localhost/loopat-build'

/** How long podman may take to give a killed build up by itself, in milliseconds. */
const GIVE_UP_MS = 5000

/** How long the owner of a build waits until what is left is removed, in milliseconds. */
const REMOVE_MS = 8000

/** The same when podman itself went away, for which the owner has waited already. */
const LOST_MS = 4000

/** What a build needs. */
export interface BuildDeps {
  readonly api: PodmanApi
  readonly images: ImageStore
  /** Environment of the programs of this host, undefined for that of this process. */
  readonly env: NodeJS.ProcessEnv | undefined
}

/**
 * Builds an image. Its final name it gets only when the context was sent whole, podman told its id, and a look at it
 * shows that id and the labels that were asked for. Whatever goes wrong, what the build left is removed.
 */
export async function buildImage(
  deps: BuildDeps,
  spec: BuildSpec,
  onProgress: ProgressSink,
  signal?: AbortSignal,
): Promise<ImageDetails> {
  const { api, images } = deps
  const temporary = `${BUILD_REPO}:${process.pid}-${randomBytes(8).toString('hex')}`
  const before = new Set((await listWorkingContainers(api, signal)).map(({ id }) => id))
  const log = new BuildLog(spec.tag)
  try {
    const id = await run({ api, spec, temporary, log, onProgress }, signal)
    const built = await images.inspect(temporary, signal)
    if (built?.id !== id || !carries(built.labels, spec.labels)) {
      throw new EngineError('build_failed', `podman built something else than ${spec.tag}`)
    }
    await images.tag(id, spec.tag, signal)
    await images.untag(temporary)
    return { ...built, tags: [...built.tags.filter((tag) => tag !== temporary), spec.tag] }
  } catch (error) {
    const isLost = isEngineError(error, 'connection_lost', 'unavailable')
    await removeLeftoversIfPossible(deps, { spec, temporary, before, log, isLost })
    signal?.throwIfAborted()
    throw error
  }
}

interface Run {
  readonly api: PodmanApi
  readonly spec: BuildSpec
  readonly temporary: string
  readonly log: BuildLog
  readonly onProgress: ProgressSink
}

/** Sends the context and follows the build. @returns the id that podman tells */
async function run({ api, spec, temporary, log, onProgress }: Run, signal?: AbortSignal): Promise<string> {
  const what = `build ${spec.tag}`
  // An upload cannot be repeated: make sure first that somebody is there to take it.
  await api.call({ method: 'GET', path: '/_ping', ok: [200], what, repeatable: true }, signal)
  const upload = new TarGuard()
  let unreadable: unknown
  pipeline(spec.context, upload, (error) => {
    unreadable = error ?? undefined
  })
  try {
    const query = {
      dockerfile: spec.containerfile,
      t: temporary,
      // Also after a failure, no working container is left.
      rm: true,
      forcerm: true,
      labels: JSON.stringify(spec.labels),
      // From podman 5 on, `labels` are those of the finished image alone; podman 4 does not know this word.
      layerLabel: toFilter(spec.labels),
      buildargs: JSON.stringify(spec.buildArgs),
      // Needs neither a device nor a helper process for each step.
      networkmode: 'host',
    }
    const stream = await api.stream(
      { method: 'POST', path: '/build', query, upload, ok: [200], what, repeatable: false },
      signal,
    )
    for await (const line of readLines(stream)) {
      const progress = log.take(parseLine(line))
      if (progress !== undefined) onProgress(progress)
    }
    return log.finish()
  } catch (error) {
    if (unreadable === undefined || signal?.aborted) throw error
    throw new EngineError('failed', `the context of ${spec.tag} cannot be read`, { cause: unreadable })
  } finally {
    upload.destroy()
  }
}

interface Leftovers {
  readonly spec: BuildSpec
  readonly temporary: string
  /** Working containers that were there before. */
  readonly before: ReadonlySet<string>
  readonly log: BuildLog
  /** Whether podman went away meanwhile: then it does not give the build up by itself. */
  readonly isLost: boolean
}

async function removeLeftoversIfPossible(deps: BuildDeps, leftovers: Leftovers): Promise<void> {
  const limit = AbortSignal.timeout(leftovers.isLost ? LOST_MS : REMOVE_MS)
  try {
    await removeLeftovers(deps, leftovers, limit)
  } catch (error) {
    // What the build failed with is what its owner wants to know; the next cleaning up finds the rest.
    if (!isEngineError(error) && !limit.aborted) throw error
  }
}

async function removeLeftovers(
  { api, images }: BuildDeps,
  { spec, temporary, before, log, isLost }: Leftovers,
  signal: AbortSignal,
): Promise<void> {
  const labels = toFilter(spec.labels)
  const listOurs = async (): Promise<WorkingContainer[]> => {
    const layers = labels.length === 0 ? [] : await images.listDangling(labels, signal)
    const ids = new Set(layers.map(({ id }) => id))
    const all = await listWorkingContainers(api, signal)
    return all.filter(({ id, image, imageId }) => !before.has(id) && (log.bases.has(image) || ids.has(imageId)))
  }
  const deadline = performance.now() + (isLost ? 0 : GIVE_UP_MS)
  let left = await listOurs()
  await killBuildSteps(new Set(left.map(({ id }) => id)))
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(100)
    left = await listOurs()
  }
  for (const { id } of left) await removeWorkingContainer(api, id, signal)
  const built = await images.untag(temporary, signal)
  if (built !== undefined) await images.removeUnused(built, signal)
  if (labels.length === 0) return
  for (const { id } of await images.listDangling(labels, signal)) await images.removeUnused(id, signal)
}

function carries(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value)
}
