import { skipsPodman, startPodman } from './podman.ts'
import type { TestWorkspace } from './workspace.ts'

/** Names of the sandbox image that belong to no workspace: by them it outlives the file that built it. */
const KEPT = 'localhost/loopat-sandbox-kept-for-tests'

/**
 * Builds the sandbox image in a workspace. Only the first file of a run waits for that: the image is kept until all
 * files have run, and other workspaces take it over.
 * @returns its name
 */
export async function buildSandboxImage(workspace: TestWorkspace): Promise<string> {
  await workspace.ok('image', 'build')
  const { tag } = await workspace.json<{ tag: string }>('image', 'status')
  await workspace.engine.image.tag(tag, `${KEPT}:${tag.slice(tag.lastIndexOf(':') + 1)}`)
  return tag
}

/** Takes a workspace its sandbox image and the base of that away. */
export async function dropSandboxImage({ engine, name }: TestWorkspace): Promise<void> {
  const tags = (await engine.image.list('localhost/loopat-')).flatMap((image) => image.tags)
  for (const tag of tags.filter((other) => /^localhost\/loopat-(?:sandbox|base)-(.*):/.exec(other)?.[1] === name)) {
    await engine.image.untag(tag)
  }
}

/** Runs after all files: lets go of what was kept for them. */
export async function teardown(): Promise<void> {
  if (process.getuid?.() === 0 || skipsPodman()) return
  await using podman = await startPodman()
  const tags = (await podman.engine.image.list(`${KEPT}:`)).flatMap((image) => image.tags)
  for (const tag of tags.filter((other) => other.startsWith(`${KEPT}:`))) await podman.engine.image.untag(tag)
}
