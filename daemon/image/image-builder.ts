/** Makes images: the steps that take time, each thin, in the order that {@link ImageBuilder.make} tells. */
import type { Engine, ImageDetails } from '../engine/engine.ts'
import { isEngineError } from '../engine/engine.ts'
import type { Clock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import { bootstrapBase } from './bootstrap.ts'
import type { BootstrapPlan } from './bootstrap-plan.ts'
import type { BootstrapTools } from './bootstrap-tools.ts'
import { packContext } from './build-context.ts'
import type { BootstrappedOption, ImageOption, ImagePlan } from './image-plan.ts'
import { describeProgress } from './image-progress.ts'
import { baseTag, CONTAINERFILE, CONTENT_HASH_LABEL, isOutdated, isSibling, siblingPrefix } from './image-recipe.ts'

const HEADING = 'Building sandbox image'

/** What a builder works with. */
export interface ImageBuilderOptions {
  readonly engine: Pick<Engine, 'image'>
  readonly workspace: string
  readonly tools: BootstrapTools
  readonly clock: Clock
  readonly log: Logger
}

/** An image in the store, and the name that asks for it. */
export interface NamedImage extends ImageDetails {
  readonly tag: string
}

/** An image, and how it came. */
export interface Made {
  readonly image: NamedImage
  /** Whether it was made or fetched just now. */
  readonly isNew: boolean
  /** The bootstrapped base that it was built on, if any. */
  readonly base?: string
}

/** How one image is made. */
export interface MakeRequest {
  readonly plan: ImagePlan
  /** Takes nothing for granted: fetches or bootstraps the base and installs the packages again. */
  readonly fresh: boolean
  readonly onProgress: OnProgress
}

type PullRequest = Pick<MakeRequest, 'fresh' | 'onProgress'>

/** A base in the store. */
interface Base {
  readonly reference: string
  /** Whether it is new, and so has to go again when nothing comes of it. */
  readonly isNew: boolean
}

/** Makes the images of one workspace. Knows of no other callers: see `ImageService` for that. */
export class ImageBuilder {
  readonly #options: ImageBuilderOptions
  readonly #images: Engine['image']

  constructor(options: ImageBuilderOptions) {
    this.#options = options
    this.#images = options.engine.image
  }

  /**
   * Finds the image of an option in the store. A name alone proves nothing: the label has to say the same.
   */
  async find({ recipe }: ImageOption, signal?: AbortSignal): Promise<NamedImage | undefined> {
    const image = await this.#images.inspect(recipe.tag, signal)
    return image?.labels[CONTENT_HASH_LABEL] === recipe.hash ? { ...image, tag: recipe.tag } : undefined
  }

  /**
   * Makes the wanted image, or the fall-back when its base is not to be had; then takes the names of older ones away.
   * @throws EngineError, LoopatError (bootstrapping), or the reason of the signal
   */
  async make(request: MakeRequest, signal: AbortSignal): Promise<Made> {
    request.onProgress({ message: HEADING })
    const made = await this.#makeWanted(request, signal)
    await this.#tidy(made, request.fresh)
    return made
  }

  /**
   * Provides an image that is used as it is.
   * @throws EngineError `image_unavailable`
   */
  async provide(name: string, fresh: boolean, onProgress: OnProgress, signal: AbortSignal): Promise<Made> {
    const isNew = await this.#pull(name, { fresh, onProgress }, signal)
    const image = await this.#mustInspect(name, signal)
    return { image: { ...image, tag: name }, isNew }
  }

  async #makeWanted(request: MakeRequest, signal: AbortSignal): Promise<Made> {
    const { wanted, fallback } = request.plan
    const adopted = request.fresh ? undefined : await this.#adopt(wanted, signal)
    if (adopted !== undefined) return { image: adopted, isNew: false }
    if (wanted.base.kind === 'bootstrapped') {
      return await this.#makeFromPackages({ base: wanted.base, recipe: wanted.recipe }, request, signal)
    }
    const { reference } = wanted.base
    try {
      await this.#pull(reference, request, signal)
    } catch (error) {
      if (fallback === undefined || !isEngineError(error, 'image_unavailable')) throw error
      // What is there is better than a stand-in.
      if ((await this.find(wanted, signal)) !== undefined) throw error
      return await this.#makeFallback(fallback, request, { reference, why: error.message }, signal)
    }
    return { image: await this.#build(wanted, reference, request, signal), isNew: true }
  }

  async #makeFallback(
    fallback: BootstrappedOption,
    request: MakeRequest,
    { reference, why }: { reference: string; why: string },
    signal: AbortSignal,
  ): Promise<Made> {
    this.#options.log.warn({ reference, why }, 'base image cannot be pulled, bootstrapping one instead')
    const message = `Base image ${reference} cannot be pulled (${why}); making one from packages instead`
    request.onProgress({ message })
    const adopted = request.fresh ? undefined : await this.#adopt(fallback, signal)
    if (adopted !== undefined) return { image: adopted, isNew: false }
    return await this.#makeFromPackages(fallback, request, signal)
  }

  async #makeFromPackages(option: BootstrappedOption, request: MakeRequest, signal: AbortSignal): Promise<Made> {
    const base = await this.#bootstrap(option.base.plan, request, signal)
    try {
      const image = await this.#build(option, base.reference, request, signal)
      return { image, isNew: true, base: base.reference }
    } catch (error) {
      // Without the signal: this has to happen also, and just then, when it has aborted.
      if (base.isNew) await this.#untag(base.reference)
      throw error
    }
  }

  async #bootstrap(plan: BootstrapPlan, request: MakeRequest, signal: AbortSignal): Promise<Base> {
    const { engine, workspace, tools } = this.#options
    const tag = baseTag(workspace, plan.key)
    if (!request.fresh) {
      if ((await this.#images.inspect(tag, signal)) !== undefined) return { reference: tag, isNew: false }
      const sibling = await this.#findSibling(tag, () => true, signal)
      if (sibling !== undefined) {
        await this.#images.tag(sibling.id, tag, signal)
        return { reference: tag, isNew: true }
      }
    }
    await bootstrapBase({ plan, workspace, tag, engine: engine.image, tools, onProgress: request.onProgress }, signal)
    return { reference: tag, isNew: true }
  }

  async #build(option: ImageOption, base: string, request: MakeRequest, signal: AbortSignal): Promise<NamedImage> {
    const { recipe } = option
    const { clock, log } = this.#options
    const since = clock.monotonicMs()
    const spec = {
      context: packContext(recipe.files),
      containerfile: CONTAINERFILE,
      tag: recipe.tag,
      buildArgs: { BASE: base, REFRESH: request.fresh ? clock.now().toISOString() : '' },
      labels: { [CONTENT_HASH_LABEL]: recipe.hash },
    }
    const sink = describeProgress(HEADING, request.onProgress, () => clock.monotonicMs())
    const image = await this.#images.build(spec, sink, signal)
    log.info({ tag: recipe.tag, base, ms: Math.round(clock.monotonicMs() - since) }, 'sandbox image built')
    return { ...image, tag: recipe.tag }
  }

  /**
   * Makes sure that an image of a registry is there; a fresh copy is a wish, which an older one satisfies too.
   * @returns whether it was fetched
   */
  async #pull(reference: string, { fresh, onProgress }: PullRequest, signal: AbortSignal): Promise<boolean> {
    const present = (await this.#images.inspect(reference, signal)) !== undefined
    if (present && !fresh) return false
    const heading = `Pulling ${reference}`
    onProgress({ message: heading })
    const { clock } = this.#options
    try {
      await this.#images.pull(
        reference,
        describeProgress(heading, onProgress, () => clock.monotonicMs()),
        signal,
      )
    } catch (error) {
      if (!present || !isEngineError(error, 'image_unavailable')) throw error
      onProgress({ message: `${reference} cannot be pulled again (${error.message}); using the one that is there` })
    }
    return true
  }

  /** Takes over an equal image of another workspace (D2). */
  async #adopt({ recipe }: ImageOption, signal: AbortSignal): Promise<NamedImage | undefined> {
    const isEqual = (image: ImageDetails) => image.labels[CONTENT_HASH_LABEL] === recipe.hash
    const sibling = await this.#findSibling(recipe.tag, isEqual, signal)
    if (sibling === undefined) return undefined
    await this.#images.tag(sibling.id, recipe.tag, signal)
    this.#options.log.info({ tag: recipe.tag, id: sibling.id }, 'equal sandbox image of another workspace taken over')
    return { ...sibling, tag: recipe.tag }
  }

  async #findSibling(tag: string, accept: (image: ImageDetails) => boolean, signal: AbortSignal) {
    const images = await this.#images.list(siblingPrefix(tag), signal)
    return images.find((image) => image.tags.some((other) => isSibling(other, tag)) && accept(image))
  }

  /**
   * Takes the names of older images of this workspace away; containers made from them keep them. The image is there
   * whatever comes of this, so it is not cancelled and its failure is no failure of the build.
   */
  async #tidy({ image, isNew, base }: Made, fresh: boolean): Promise<void> {
    try {
      await this.#forgetOutdated(image.tag)
      if (isNew) await this.#forgetOutdated(base ?? baseTag(this.#options.workspace, ''))
      // The name has moved away from an older image, which is nameless now.
      if (fresh) await this.#images.cleanUp()
    } catch (error) {
      if (!isEngineError(error)) throw error
      this.#options.log.warn({ tag: image.tag, why: error.message }, 'older images not removed')
    }
  }

  /** Takes away all names in the repository of `tag` but that one. */
  async #forgetOutdated(tag: string): Promise<void> {
    const images = await this.#images.list(tag.slice(0, tag.lastIndexOf(':') + 1))
    const outdated = images.flatMap((image) => image.tags).filter((other) => isOutdated(other, tag))
    for (const other of outdated) await this.#untag(other)
  }

  /** One that stays, because it is used or the engine has gone, hinders nobody. */
  async #untag(tag: string): Promise<void> {
    try {
      await this.#images.untag(tag)
    } catch (error) {
      if (!isEngineError(error)) throw error
      this.#options.log.warn({ tag, why: error.message }, 'image keeps its name')
    }
  }

  async #mustInspect(name: string, signal: AbortSignal): Promise<ImageDetails> {
    const image = await this.#images.inspect(name, signal)
    if (image !== undefined) return image
    throw new Error(`${name} is gone although it was there a moment ago`)
  }
}
