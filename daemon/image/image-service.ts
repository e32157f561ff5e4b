/** The sandbox image of a workspace: what it is, and that it is there. */
import { join } from 'node:path'
import type { CheckedParamsOf, ImageInfo, Progress } from '@loopatd/protocol'
import type { Engine, ImageDetails } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'
import { Coalesce } from '../lib/coalesce.ts'
import { noProgress, type OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import { findDirectories, removeAbandoned } from './bootstrap-directory.ts'
import { planBootstrap, readHostSystem } from './bootstrap-plan.ts'
import type { BootstrapTools } from './bootstrap-tools.ts'
import { ImageBuilder, type Made, type NamedImage } from './image-builder.ts'
import { toImageError } from './image-error.ts'
import { AUTHORITY_DIRECTORIES, readAuthorities, readTemplate } from './image-input.ts'
import { describeBase, type ImagePlan, optionsOf, planImage } from './image-plan.ts'

/** Something happened to a build, whoever asked for it. */
export interface ImageEvent {
  readonly tag: string
  readonly state: 'running' | 'done' | 'failed'
  readonly progress: Progress
}

/** What the image room needs. */
export interface ImageServiceOptions {
  readonly engine: Pick<Engine, 'image'>
  /** Normalised name (W-3). */
  readonly workspace: string
  /** Directory that holds `sandbox/Containerfile`. */
  readonly templatesDir: string
  /** `image.base` and `image.name` of the configuration. */
  readonly settings: { readonly base?: string | undefined; readonly name?: string | undefined }
  readonly tools: BootstrapTools
  readonly clock: Clock
  readonly log: Logger
  /** Told about every build. Must not throw. */
  readonly onEvent?: (event: ImageEvent) => void
  /** Directories with the host's own authorities; default {@link AUTHORITY_DIRECTORIES}. */
  readonly authorityDirectories?: readonly string[]
  /** Default `/etc`. */
  readonly etc?: string
}

/** Keeps the sandbox image of one workspace. */
export class ImageService {
  readonly #options: ImageServiceOptions
  readonly #builder: ImageBuilder
  readonly #builds = new Coalesce<Made, Progress>()
  readonly #named = new Map<string, string>()
  #current: string | undefined
  #sweeping: Promise<void> | undefined

  constructor(options: ImageServiceOptions) {
    this.#options = options
    this.#builder = new ImageBuilder(options)
  }

  /**
   * Finds what a crash left of bootstrapping, and removes it, which may take long, in the background. Call it once,
   * before anything else, when no tool of an earlier daemon runs any more.
   */
  async sweep(): Promise<void> {
    const { tools, workspace } = this.#options
    this.#sweeping = this.#remove(await findDirectories(tools, workspace))
  }

  /**
   * Tells which image loops use, without making anything.
   * @throws LoopatError when the engine does not answer
   */
  async status(_params: CheckedParamsOf<'image/status'> = {}, signal?: AbortSignal): Promise<ImageInfo> {
    const { name } = this.#options.settings
    if (name !== undefined) return this.#describe(name, 'named', null, await this.#inspect(name, signal))
    const plan = await this.#plan()
    const { wanted } = plan
    for (const option of optionsOf(plan)) {
      const image = await translate(`Looking for ${option.recipe.tag}`, this.#builder.find(option, signal))
      if (image !== undefined) return this.#describe(wanted.recipe.tag, 'built', describeBase(option.base), image)
    }
    return this.#describe(wanted.recipe.tag, 'built', describeBase(wanted.base), undefined)
  }

  /** {@link ensure} or {@link rebuild}, and then {@link status}: what `image/build` does. */
  async build(
    { rebuild }: Pick<CheckedParamsOf<'image/build'>, 'rebuild'>,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<ImageInfo> {
    if (rebuild) await this.rebuild(onProgress, signal)
    else await this.ensure(onProgress, signal)
    return await this.status({}, signal)
  }

  /**
   * Makes sure that the image is there; at once when it is. Concurrent callers share one build: each gets all of its
   * progress and its outcome, and it is cancelled when the last of them has aborted.
   * @throws LoopatError `image_build_failed`, `image_unavailable`, or what the engine suffers from
   */
  async ensure(onProgress: OnProgress = noProgress, signal?: AbortSignal): Promise<NamedImage> {
    const { name } = this.#options.settings
    if (name !== undefined) return await this.ensureNamed(name, onProgress, signal)
    const plan = await this.#plan()
    const key = plan.wanted.recipe.tag
    const image = (await this.#findAny(plan, signal)) ?? (await this.#share({ key, plan, onProgress }, signal)).image
    this.#current = image.id
    return image
  }

  /** As {@link ensure}, for an image that is used as it is, and fetched when it is missing. */
  async ensureNamed(name: string, onProgress: OnProgress = noProgress, signal?: AbortSignal): Promise<NamedImage> {
    const present = await this.#inspect(name, signal)
    const image =
      present === undefined
        ? (await this.#share({ key: name, plan: undefined, onProgress }, signal)).image
        : { ...present, tag: name }
    this.#named.set(name, image.id)
    return image
  }

  /** As {@link ensure}, but makes (or fetches) the image also when it is there: from a fresh base, with fresh packages. */
  async rebuild(onProgress: OnProgress = noProgress, signal?: AbortSignal): Promise<NamedImage> {
    const { name } = this.#options.settings
    const plan = name === undefined ? await this.#plan() : undefined
    const key = plan?.wanted.recipe.tag ?? name ?? ''
    const request = { key, plan, onProgress, fresh: true }
    let made = await this.#share(request, signal)
    // Joined somebody who found the image there and made nothing.
    while (!made.isNew) made = await this.#share(request, signal)
    if (name === undefined) this.#current = made.image.id
    else this.#named.set(name, made.image.id)
    return made.image
  }

  /**
   * Plain id of the image that {@link ensure}, or {@link ensureNamed} with a name, gave last. Asks nobody: undefined
   * when neither has been called yet.
   */
  known(name: string | undefined = this.#options.settings.name): string | undefined {
    return name === undefined ? this.#current : this.#named.get(name)
  }

  /** Resolves when no build runs any more, also none that only cleans up after a cancellation. */
  async settled(): Promise<void> {
    await Promise.all([this.#builds.settled(), this.#sweeping])
  }

  async #remove(directories: readonly string[]): Promise<void> {
    const { clock, log, tools } = this.#options
    for (const path of directories) {
      try {
        await removeAbandoned(path, tools, clock)
        log.info({ path }, 'removed what a crash left behind')
      } catch (err) {
        if (!(err instanceof Error && 'code' in err)) throw err
        log.warn({ path, err }, 'what a crash left behind cannot be removed')
      }
    }
  }

  async #share(request: ShareRequest, signal: AbortSignal | undefined): Promise<Made> {
    const { key, onProgress } = request
    const start = (report: OnProgress, cancelled: AbortSignal) =>
      this.#make({ ...request, onProgress: report }, cancelled)
    return await this.#builds.run(key, { start, onProgress }, signal)
  }

  async #make(request: ShareRequest, signal: AbortSignal): Promise<Made> {
    const { key: tag } = request
    const { onEvent, log } = this.#options
    const onProgress: OnProgress = (progress) => {
      request.onProgress(progress)
      onEvent?.({ tag, state: 'running', progress })
    }
    try {
      const made = await translate(`Making ${tag}`, this.#makeOnce({ ...request, onProgress }, signal))
      onEvent?.({ tag, state: 'done', progress: { message: `Sandbox image ${made.image.tag} is ready` } })
      return made
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      log.warn({ tag, why, cancelled: signal.aborted }, 'sandbox image not made')
      onEvent?.({ tag, state: 'failed', progress: { message: signal.aborted ? 'Cancelled' : why } })
      throw error
    }
  }

  async #makeOnce(request: ShareRequest, signal: AbortSignal): Promise<Made> {
    const { key, plan, onProgress, fresh = false } = request
    if (plan === undefined) return await this.#builder.provide(key, fresh, onProgress, signal)
    // It may have come into being between the caller's look and now.
    const present = fresh ? undefined : await this.#findAny(plan, signal)
    if (present !== undefined) return { image: present, isNew: false }
    return await this.#builder.make({ plan, fresh, onProgress }, signal)
  }

  async #findAny(plan: ImagePlan, signal: AbortSignal | undefined): Promise<NamedImage | undefined> {
    for (const option of optionsOf(plan)) {
      const image = await translate(`Looking for ${option.recipe.tag}`, this.#builder.find(option, signal))
      if (image !== undefined) return image
    }
    return undefined
  }

  async #inspect(name: string, signal: AbortSignal | undefined): Promise<ImageDetails | undefined> {
    return await translate(`Looking for ${name}`, this.#options.engine.image.inspect(name, signal))
  }

  async #plan(): Promise<ImagePlan> {
    const { workspace, templatesDir, settings, log, authorityDirectories, etc } = this.#options
    const onUnreadable = (path: string) => log.warn({ path }, 'authority cannot be read and is left out of the image')
    const [files, authorities, host] = await Promise.all([
      readTemplate(join(templatesDir, 'sandbox')),
      readAuthorities(authorityDirectories ?? AUTHORITY_DIRECTORIES, onUnreadable),
      readHostSystem(etc ?? '/etc', process.arch),
    ])
    return planImage({ workspace, base: settings.base, files, authorities, bootstrap: planBootstrap(host) })
  }

  #describe(
    wanted: string,
    source: ImageInfo['source'],
    base: string | null,
    image: (ImageDetails & { tag?: string }) | undefined,
  ): ImageInfo {
    return {
      tag: image?.tag ?? wanted,
      source,
      base,
      present: image !== undefined,
      building: this.#builds.isRunning(wanted),
      id: image?.id ?? null,
      createdAt: image?.createdAt ?? null,
      sizeBytes: image?.sizeBytes ?? null,
    }
  }
}

interface ShareRequest {
  /** Name of the wanted image. */
  readonly key: string
  /** Undefined when the image is named and never built. */
  readonly plan: ImagePlan | undefined
  readonly onProgress: OnProgress
  readonly fresh?: boolean
}

async function translate<T>(doing: string, promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw toImageError(error, doing)
  }
}
