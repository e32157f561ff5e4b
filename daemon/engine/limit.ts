import { type ContainerLimits, EngineError, LIMIT_CONTROLLERS } from './engine.ts'

/** Reports whether anything is limited. */
export function hasLimits(limits: ContainerLimits): boolean {
  return limitNames(limits).length > 0
}

/**
 * Refuses limits that would not be enforced: the engine itself takes them and does nothing about them.
 * @param controllers as in `EngineInfo`
 * @throws EngineError `limit_unsupported`
 */
export function checkLimits(limits: ContainerLimits, controllers: readonly string[]): void {
  const missing = limitNames(limits)
    .map((name) => LIMIT_CONTROLLERS[name])
    .filter((controller) => !controllers.includes(controller))
  if (missing.length === 0) return
  throw new EngineError(
    'limit_unsupported',
    `this host cannot enforce the limit: podman has no cgroup controller "${missing.join('", "')}"`,
  )
}

function limitNames(limits: ContainerLimits): (keyof ContainerLimits)[] {
  return (['memoryBytes', 'cpus', 'pids'] as const).filter((name) => limits[name] !== undefined)
}
