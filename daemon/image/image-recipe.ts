/** From what an image is made to what it is called: pure. */
import { createHash } from 'node:crypto'
import type { ContextFile } from './build-context.ts'

/** The label that proves that an image was made from the recipe its tag names (D2). It carries no other. */
export const CONTENT_HASH_LABEL = 'loopat.content-hash'

/** Path of the recipe in the context. */
export const CONTAINERFILE = 'Containerfile'

const LAYER = 'localhost/loopat-layer-'
const SANDBOX = 'localhost/loopat-sandbox-'
const BASE = 'localhost/loopat-base-'

/** What makes a sandbox image what it is. */
export interface RecipeInput {
  readonly workspace: string
  /** The shipped files; one is the Containerfile. */
  readonly files: readonly ContextFile[]
  /** PEM certificates that the host trusts beyond the usual ones; their order does not matter. */
  readonly authorities: readonly string[]
  /** What the base is, in words that change when another base is wanted. */
  readonly base: string
}

/** How to make a sandbox image, and its name. */
export interface ImageRecipe {
  /** First 16 hex digits of a SHA-256 over everything that goes in, but not over the workspace. */
  readonly hash: string
  /** `localhost/loopat-sandbox-<workspace>:<hash>`. */
  readonly tag: string
  readonly files: readonly ContextFile[]
}

/** Decides the context and the name of a sandbox image. */
export function createRecipe(input: RecipeInput): ImageRecipe {
  const files = [...input.files, ...input.authorities.map(authorityFile)].sort((a, b) => (a.path < b.path ? -1 : 1))
  const parts = files.flatMap(({ path, executable, content }) => [path, executable ? 'x' : '-', content])
  const hash = shortHash(['base', input.base, ...parts])
  return { hash, tag: `${sandboxRepository(input.workspace)}:${hash}`, files }
}

/** Repository of the sandbox images of a workspace; who owns the name owns the image. */
export function sandboxRepository(workspace: string): string {
  return SANDBOX + repositoryPart(workspace)
}

/** Repository of what was changed in the containers of a workspace, saved to make the next one from. */
export function layerRepository(workspace: string): string {
  return LAYER + repositoryPart(workspace)
}

/** Name of a bootstrapped base of a workspace. */
export function baseTag(workspace: string, key: string): string {
  return `${BASE}${repositoryPart(workspace)}:${key}`
}

/** Start of the names of everybody's images that could be the one called `tag`. */
export function siblingPrefix(tag: string): string {
  return tag.startsWith(BASE) ? BASE : SANDBOX
}

/** Reports whether `other` is what another workspace calls the image `tag`. */
export function isSibling(other: string, tag: string): boolean {
  return other !== tag && other.startsWith(siblingPrefix(tag)) && other.endsWith(tag.slice(tag.lastIndexOf(':')))
}

/** Reports whether `other` is in exactly the repository of `tag` but another image. */
export function isOutdated(other: string, tag: string): boolean {
  const end = tag.lastIndexOf(':') + 1
  return other !== tag && other.startsWith(tag.slice(0, end)) && !other.slice(end).includes('/')
}

/** First 16 hex digits of a SHA-256 over the parts; no two lists of parts give the same input. */
export function shortHash(parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}\0`).update(part)
  return hash.digest('hex').slice(0, 16)
}

/** A workspace name may hold runs of separators that a repository name may not. */
function repositoryPart(workspace: string): string {
  return workspace.replace(/[._-]{2,}/g, (run) => (/^(?:-+|__)$/.test(run) ? run : '-'))
}

/** Named by content: what the host calls the file is nobody's business inside. */
function authorityFile(certificate: string): ContextFile {
  const content = Buffer.from(`${certificate.trim()}\n`)
  return { path: `ca/host-${shortHash([content])}.crt`, executable: false, content }
}
