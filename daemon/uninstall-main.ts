/**
 * `loopatd uninstall`: the second composition root, for the time when no daemon runs. Tells on stdout, as JSON lines
 * (see the contract's uninstall.ts), what belongs to the workspace, and removes it unless only the plan is wanted.
 * `loopctl uninstall` is what people call.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { EXIT, findWorkspace, isLoopatError, LoopatError, type UninstallLine, type Workspace } from '@loopatd/protocol'
import { readConfig } from './config.ts'
import { type Engine, isEngineError } from './engine/engine.ts'
import { findProgram } from './engine/podman/host.ts'
import { candidateSockets } from './engine/podman/locate.ts'
import { OwnService } from './engine/podman/own-service.ts'
import { createPodmanEngine } from './engine/podman/podman-engine.ts'
import { PodmanService } from './engine/podman/service.ts'
import { removeAsRoot } from './engine/podman/unshare.ts'
import { Lifetime } from './lib/lifetime.ts'
import { takeLocks } from './lock.ts'
import { removeTree } from './loop/store-cleanup.ts'
import { findTemplates, lockPaths, type Paths, pathsOf } from './paths.ts'
import { prepareRuntimeDir } from './server/socket.ts'
import { uninstall } from './uninstall/uninstall.ts'
import { planUninstall } from './uninstall/uninstall-plan.ts'
import { lookAtHome } from './uninstall/workspace-files.ts'

function tell(line: UninstallLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

/** A configuration that cannot be read must not keep anybody from removing the workspace. */
async function configuredSocket(paths: Paths): Promise<string | undefined> {
  try {
    return (await readConfig(paths.config)).engine.socket
  } catch (error) {
    if (isLoopatError(error, 'config_invalid')) return undefined
    throw error
  }
}

/**
 * Finds podman: the workspace's own service, one that others run, or one for the time of this program, in a directory
 * that goes with it, so that a plan changes nothing.
 * @throws LoopatError `engine_unavailable` when podman is there but does not answer: then nobody knows what would be left
 */
async function openEngine(
  paths: Paths,
  lifetime: Lifetime,
  signal: AbortSignal,
): Promise<Engine | { readonly missing: string }> {
  const { env } = process
  const shared = candidateSockets({
    environment: env.LOOPAT_PODMAN_SOCKET,
    config: await configuredSocket(paths),
    xdgRuntimeDir: env.XDG_RUNTIME_DIR,
  })
  const directory = await mkdtemp(join(tmpdir(), 'loopat-uninstall-'))
  lifetime.add(() => rm(directory, { recursive: true, force: true }))
  const podman = new PodmanService({
    candidates: [{ socketPath: ownService(paths).socketPath }, ...shared],
    runtimeDir: directory,
    logDir: directory,
    env,
  })
  lifetime.add(() => podman.own.end())
  lifetime.add(() => podman.dispose())
  try {
    await podman.start(signal)
  } catch (error) {
    if (!isEngineError(error, 'unavailable')) throw error
    if ((await findProgram('podman', env)) === undefined) return { missing: 'podman is not installed' }
    throw new LoopatError('engine_unavailable', `podman cannot be asked what is left in it: ${error.message}`, {
      next: 'Mend podman first; nothing was removed.',
      cause: error,
    })
  }
  return createPodmanEngine({ socketPath: () => podman.socketPath(), env: process.env })
}

function ownService(paths: Paths): OwnService {
  return new OwnService({ runtimeDir: paths.runtime, logDir: dirname(paths.log), env: process.env })
}

/** Keeps daemons of this workspace from starting meanwhile. @throws LoopatError `already_running` when one runs */
async function takeWorkspace(workspace: Workspace, paths: Paths, lifetime: Lifetime): Promise<void> {
  prepareRuntimeDir(paths.runtime)
  const { isWorkspace } = await lookAtHome(paths.home)
  const [ofSocket, ofHome] = lockPaths(paths)
  await takeLocks(isWorkspace ? [ofSocket, ofHome] : [ofSocket], workspace, lifetime)
}

/** @returns the exit code */
async function run(onlyPlan: boolean, lifetime: Lifetime, signal: AbortSignal): Promise<number> {
  const workspace = findWorkspace()
  const paths = pathsOf(workspace, findTemplates(import.meta.url))
  const service = ownService(paths)
  if (!onlyPlan) await takeWorkspace(workspace, paths, lifetime)
  const engine = await openEngine(paths, lifetime, signal)
  const { home, runtime } = paths
  const plan = await planUninstall({ workspace: workspace.name, home, runtime, engine, service }, signal)
  tell({ plan })
  if (onlyPlan) return EXIT.ok.code
  const tools = {
    engine: 'missing' in engine ? undefined : engine,
    endService: () => service.end(),
    removeTree: (path: string) => removeTree(path, (tree) => removeAsRoot(tree, process.env)),
  }
  let isClean = plan.kept.length === 0
  for await (const verdict of uninstall(plan, tools, signal)) {
    tell({ verdict })
    isClean &&= verdict.removed
  }
  return isClean ? EXIT.ok.code : EXIT.failure.code
}

function fail(error: unknown): number {
  const known = isLoopatError(error) ? error : undefined
  const message = error instanceof Error ? error.message : String(error)
  tell({ error: { name: known?.code ?? 'internal', message, next: known?.next ?? null } })
  return known?.exitCode ?? EXIT.failure.code
}

async function main(): Promise<void> {
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => stop.abort(new LoopatError('cancelled', `stopped by ${signal}: the rest is left`)))
  }
  const lifetime = new Lifetime()
  try {
    // The first word is the launcher's.
    const { values } = parseArgs({ args: process.argv.slice(3), options: { plan: { type: 'boolean' } } })
    process.exitCode = await run(values.plan === true, lifetime, stop.signal)
  } catch (error) {
    process.exitCode = fail(error)
  } finally {
    await lifetime.dispose()
  }
}

await main()
