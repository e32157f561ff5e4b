/** Decides which images will do for a workspace, in the order of preference: pure. */
import type { BootstrapPlan } from './bootstrap-plan.ts'
import type { ContextFile } from './build-context.ts'
import { createRecipe, type ImageRecipe } from './image-recipe.ts'

/** Where the base comes from: a reference that is pulled, or packages. */
export type BaseChoice =
  | { readonly kind: 'configured'; readonly reference: string }
  | { readonly kind: 'bootstrapped'; readonly plan: BootstrapPlan }

/** One way to a sandbox image. */
export interface ImageOption {
  readonly base: BaseChoice
  readonly recipe: ImageRecipe
}

/** One that starts from packages. */
export interface BootstrappedOption extends ImageOption {
  readonly base: Extract<BaseChoice, { kind: 'bootstrapped' }>
}

/** All ways to the sandbox image. */
export interface ImagePlan {
  readonly wanted: ImageOption
  /** What is made instead when the configured base is not to be had. */
  readonly fallback: BootstrappedOption | undefined
}

/** What a plan depends on. */
export interface PlanInput {
  readonly workspace: string
  /** Reference from the configuration. */
  readonly base: string | undefined
  readonly files: readonly ContextFile[]
  readonly authorities: readonly string[]
  readonly bootstrap: BootstrapPlan
}

/**
 * Plans the sandbox image. The fall-back has a name of its own, which also depends on what it stands in for: so nobody
 * who configures another base later is served with it.
 */
export function planImage(input: PlanInput): ImagePlan {
  const { workspace, files, authorities, bootstrap, base } = input
  const option = <B extends BaseChoice>(choice: B, identity: string) => ({
    base: choice,
    recipe: createRecipe({ workspace, files, authorities, base: identity }),
  })
  const packages = `packages ${bootstrap.key}`
  const bootstrapped = { kind: 'bootstrapped', plan: bootstrap } as const
  if (base === undefined) return { wanted: option(bootstrapped, packages), fallback: undefined }
  return {
    wanted: option({ kind: 'configured', reference: base } as const, `image ${base}`),
    fallback: option(bootstrapped, `${packages} instead of ${base}`),
  }
}

/** The options of a plan, best first. */
export function optionsOf({ wanted, fallback }: ImagePlan): ImageOption[] {
  return fallback === undefined ? [wanted] : [wanted, fallback]
}

/** Says for people what an image is based on. */
export function describeBase(base: BaseChoice): string {
  return base.kind === 'configured' ? base.reference : `packages of ${base.plan.title}`
}
