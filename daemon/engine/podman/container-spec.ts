import { type BindMount, type ContainerLimits, type ContainerSpec, EngineError } from '../engine.ts'

/**
 * The body of a create request. Pure.
 * @throws EngineError `failed` when a path cannot be mounted
 */
export function createBody(spec: ContainerSpec): object {
  const { keepId, limits, network } = spec
  if (keepId.uid === 0 || keepId.gid === 0) {
    throw new EngineError('failed', `container ${spec.name}: podman cannot map the caller to root of the container`)
  }
  const [program, ...args] = spec.command
  return {
    Image: spec.image,
    Hostname: spec.hostname,
    Labels: spec.labels,
    Entrypoint: [program],
    Cmd: args,
    // Not whoever the image names: only this user's files belong to the caller outside.
    User: `${keepId.uid}:${keepId.gid}`,
    WorkingDir: spec.workdir,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    // Podman takes an absent one as zero: it would kill at once.
    StopTimeout: spec.stopTimeoutSeconds,
    HostConfig: {
      Binds: spec.mounts.map(toBind),
      Init: spec.init,
      NetworkMode: network.kind === 'named' ? network.name : network.kind,
      UsernsMode: `keep-id:uid=${keepId.uid},gid=${keepId.gid}`,
      // Where SELinux confines containers, these could not use the sockets that are mounted into them.
      SecurityOpt: ['label=disable'],
      ...(spec.dns.length === 0 ? {} : { Dns: spec.dns }),
      ...limitsOf(limits),
    },
    ...(network.kind === 'named'
      ? { NetworkingConfig: { EndpointsConfig: { [network.name]: { Aliases: network.aliases } } } }
      : {}),
  }
}

/** Without a limit of its own, swap would come on top of memory. */
function limitsOf({ memoryBytes, cpus, pids }: ContainerLimits): object {
  return {
    ...(memoryBytes === undefined ? {} : { Memory: memoryBytes, MemorySwap: memoryBytes }),
    ...(cpus === undefined ? {} : { NanoCpus: Math.round(cpus * 1e9) }),
    ...(pids === undefined ? {} : { PidsLimit: pids }),
  }
}

function toBind(mount: BindMount): string {
  for (const path of [mount.source, mount.target]) {
    if (!isMountable(path)) {
      throw new EngineError(
        'failed',
        `${JSON.stringify(path)} cannot be mounted: podman allows no colon, comma or control character`,
      )
    }
    if (!path.startsWith('/')) throw new EngineError('failed', `${path} cannot be mounted: it is not absolute`)
  }
  return `${mount.source}:${mount.target}:${mount.readOnly ? 'ro' : 'rw'}`
}

/** In podman's `source:target:options`, `:` and `,` have a meaning, and nothing can be escaped. */
function isMountable(path: string): boolean {
  return [...path].every((character) => character > '\x1f' && character !== '\x7f' && !':,'.includes(character))
}
