/** Makes a base image from the distribution's own packages, for hosts that reach no registry (D12). */
import { Readable } from 'node:stream'
import { LoopatError } from '@loopatd/protocol'
import type { ImageDetails, ImageEngine } from '../engine/engine.ts'
import type { OnProgress } from '../lib/progress.ts'
import { makeDirectory, removeDirectory } from './bootstrap-directory.ts'
import type { BootstrapPlan } from './bootstrap-plan.ts'
import { type BootstrapTools, collectLines, environment, runHelper } from './bootstrap-tools.ts'
import { type ProcessGroup, startGroup } from './process-group.ts'

const ALTERNATIVE = 'name an image to use instead in `image.base` of config.toml'

/** Removes what the tool copies from the host into the system although it says something about the host. */
const FORGET_HOST = 'rm -f "$1/etc/resolv.conf" "$1/etc/hostname"'

/** Lines of the tool that are about itself. */
const INNER = /tempdir|-hook|signed-by|automatically chosen|equal to the host/

/** One base to make. */
export interface BootstrapRequest {
  readonly plan: BootstrapPlan
  /** Normalised name of the workspace; temporary directories carry it. */
  readonly workspace: string
  /** Name that the image gets. */
  readonly tag: string
  readonly engine: Pick<ImageEngine, 'import'>
  readonly tools: BootstrapTools
  readonly onProgress: OnProgress
}

/**
 * Bootstraps and imports a base image; some 20 s and 180 MB. Nothing is left behind when it fails or is aborted: no
 * process, no temporary file, no image.
 * @throws LoopatError `image_unavailable` when the tool is missing, may not make user namespaces, or fails
 * @throws EngineError when the import fails
 */
export async function bootstrapBase(request: BootstrapRequest, signal: AbortSignal): Promise<ImageDetails> {
  const { tools, plan, workspace } = request
  await probe(tools, signal)
  const directory = await makeDirectory(tools, workspace)
  try {
    return await runAndImport(request, startTool(plan, { ...tools, tmpDir: directory }), signal)
  } finally {
    await removeDirectory(directory, tools)
  }
}

/** Asks the tool for nothing but a user namespace, so that a refusal is told from any other failure. */
async function probe(tools: BootstrapTools, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const { code, error, lines } = await runHelper(tools, ['true'])
  signal.throwIfAborted()
  if (error?.code === 'ENOENT') {
    throw new LoopatError('image_unavailable', `No base image: ${tools.command} is not installed on this host`, {
      next: `Install the package mmdebstrap, or ${ALTERNATIVE}.`,
      cause: error,
    })
  }
  if (error !== undefined || code !== 0) {
    throw new LoopatError('image_unavailable', `No base image: no user namespace for mmdebstrap: ${lines.join(' ')}`, {
      next: `Allow user namespaces and give the user a range in /etc/subuid and /etc/subgid, or ${ALTERNATIVE}.`,
      cause: error,
    })
  }
}

function startTool(plan: BootstrapPlan, tools: BootstrapTools): ProcessGroup {
  const args = [
    '--variant=minbase',
    '--mode=unshare',
    '--format=tar',
    `--components=${plan.components.join(',')}`,
    `--include=${plan.packages.join(',')}`,
    `--customize-hook=${FORGET_HOST}`,
    plan.suite,
    '-',
    ...plan.mirrors,
  ]
  return startGroup(tools.command, args, environment(tools))
}

async function runAndImport(
  request: BootstrapRequest,
  group: ProcessGroup,
  signal: AbortSignal,
): Promise<ImageDetails> {
  const { plan, tag, engine, onProgress } = request
  const heading = `Building base image from the packages of ${plan.title}`
  onProgress({ message: heading })
  const lines = collectLines(group.stderr, (line) => {
    if (line.startsWith('I: ') && !INNER.test(line)) onProgress({ message: `${heading}: ${line.slice(3, 200)}` })
  })
  const failure = async (): Promise<LoopatError | undefined> => {
    const { code } = await group.ended
    if (code === 0) return undefined
    return new LoopatError('image_unavailable', `mmdebstrap failed for ${plan.title}: ${lines.join(' | ')}`, {
      next: `Check the network and the sources of apt and try again, or ${ALTERNATIVE}.`,
    })
  }
  const state: { failed?: LoopatError } = {}
  const rootfs = Readable.from(whole(group.stdout, failure, state), { objectMode: false })
  const onAbort = () => {
    rootfs.destroy(signal.reason instanceof Error ? signal.reason : undefined)
    group.stdout.destroy()
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    signal.throwIfAborted()
    return await engine.import(rootfs, tag, signal)
  } catch (error) {
    signal.throwIfAborted()
    throw state.failed ?? error
  } finally {
    signal.removeEventListener('abort', onAbort)
    rootfs.destroy()
    await group.end()
  }
}

/** The output of the tool, which only ends well when the tool did: half a system must never become an image. */
async function* whole(
  output: Readable,
  failure: () => Promise<LoopatError | undefined>,
  state: { failed?: LoopatError },
): AsyncGenerator<Buffer> {
  for await (const chunk of output) yield chunk
  const failed = await failure()
  if (failed === undefined) return
  state.failed = failed
  throw failed
}
