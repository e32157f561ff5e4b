import type { UninstallPlan, UninstallResource } from '@loopatd/protocol'
import type { Engine } from '../engine/engine.ts'
import { baseTag, layerRepository, sandboxRepository } from '../image/image-recipe.ts'
import { lookAtHome, namesIn } from './workspace-files.ts'

/** Where to look. */
export interface UninstallPlace {
  /** Name of the workspace. */
  readonly workspace: string
  readonly home: string
  /** Directory of sockets, locks and control directories; wholly ours. */
  readonly runtime: string
  /** The engine, or why there is none. */
  readonly engine: Engine | { readonly missing: string }
  /** The workspace's own podman service. */
  readonly service: { readonly socketPath: string; pid(): Promise<number | undefined> }
}

/**
 * Finds everything that belongs to a workspace, and nothing that belongs to another one: containers and networks by
 * exactly its label, images by exactly its repositories. Changes nothing.
 * @throws EngineError
 */
export async function planUninstall(place: UninstallPlace, signal: AbortSignal): Promise<UninstallPlan> {
  const { workspace, home, runtime, engine, service } = place
  const { isWorkspace, foreign, loops, mirrors, vaults } = await lookAtHome(home)
  const inPodman = 'missing' in engine ? [] : await findInPodman(engine, workspace, signal)
  const own: UninstallResource[] =
    (await service.pid()) === undefined ? [] : [{ kind: 'service', name: service.socketPath }]
  const data = [...(isWorkspace ? [home] : []), ...((await namesIn(runtime)).length > 0 ? [runtime] : [])]
  return {
    workspace,
    home,
    loops,
    mirrors,
    vaults,
    noPodman: 'missing' in engine ? engine.missing : null,
    resources: [...inPodman, ...own, ...data.map((name) => ({ kind: 'data' as const, name }))],
    kept: [...foreign],
  }
}

async function findInPodman(engine: Engine, workspace: string, signal: AbortSignal): Promise<UninstallResource[]> {
  const label = { 'loopat.workspace': workspace }
  const isOurs = ({ labels }: { readonly labels: Readonly<Record<string, string>> }) =>
    labels['loopat.workspace'] === workspace
  const containers = (await engine.container.list(label, signal)).filter(isOurs).map(({ name }) => name)
  const networks = (await engine.network.list(label, signal)).filter(isOurs).map(({ name }) => name)
  const images: string[] = []
  for (const prefix of [`${sandboxRepository(workspace)}:`, baseTag(workspace, ''), `${layerRepository(workspace)}:`]) {
    const tags = (await engine.image.list(prefix, signal)).flatMap((image) => image.tags)
    images.push(...tags.filter((tag) => tag.startsWith(prefix)))
  }
  return [
    ...containers.sort().map((name) => ({ kind: 'container' as const, name })),
    ...[...new Set(images)].sort().map((name) => ({ kind: 'image' as const, name })),
    ...networks.sort().map((name) => ({ kind: 'network' as const, name })),
  ]
}
