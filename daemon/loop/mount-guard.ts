import { readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errorCode } from '../lib/error-code.ts'
import { type HostMount, parseMountInfo, type Relation, relationOf, spotOf, spotsShownBy } from './mount-table.ts'

/** A place of the host that no loop may see. */
export interface ProtectedPlace {
  readonly path: string
  /** For people, as the object of a sentence: `the home of the daemon`. */
  readonly what: string
  /** `tree`: all of it. `itself`: the place as a whole; a part of it may be mounted. */
  readonly scope: 'tree' | 'itself'
}

/** What the protected places follow from. */
export interface GuardFacts {
  /** Home of the workspace. */
  readonly home: string
  /** Runtime directory of the daemon. */
  readonly runtime: string
  /** Home directory of the user. */
  readonly userHome: string
  readonly uid: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** Sockets that podman is, or may be, spoken to on. */
  readonly sockets: readonly string[]
}

/** Below the user's runtime directory: what gives power over the daemon, containers, or the user's session. */
const RUNTIME_TREES = [
  'bus',
  'containers',
  'crun',
  'dbus-1',
  'docker.sock',
  'libpod',
  'loopat',
  'netns',
  'podman',
  'systemd',
]
/** Sockets of container engines, with the directories that hold them. */
const ENGINE_PLACES = ['/run/podman', '/run/docker.sock', '/run/docker', '/run/containerd', '/var/lib/containers']
const WORDS: Readonly<Record<Relation, string>> = { is: 'it is', holds: 'it holds', within: 'it lies in' }

/** The places that no mount may show. Pure. */
export function protectedPlaces({ home, runtime, userHome, uid, env, sockets }: GuardFacts): ProtectedPlace[] {
  const runtimes = [...new Set([env.XDG_RUNTIME_DIR ?? '', `/run/user/${uid}`])].filter((path) => path.startsWith('/'))
  const data = env.XDG_DATA_HOME?.startsWith('/') ? [env.XDG_DATA_HOME] : []
  const settings = env.XDG_CONFIG_HOME?.startsWith('/') ? [env.XDG_CONFIG_HOME] : []
  const trees = (paths: readonly string[], what: string) =>
    paths.map((path): ProtectedPlace => ({ path, what, scope: 'tree' }))
  const themselves = (paths: readonly string[], what: string) =>
    paths.map((path): ProtectedPlace => ({ path, what, scope: 'itself' }))
  return [
    ...themselves(['/'], 'the whole host'),
    ...themselves(['/dev'], 'the devices of the host'),
    ...trees(['/proc', '/sys'], 'what the kernel shows'),
    ...trees([home, join(userHome, '.loopat')], 'the home of the daemon'),
    // Named by itself, since another name of the very file is recognised, too.
    ...trees([join(home, 'config.toml')], 'the configuration of the daemon'),
    ...trees([runtime, dirname(runtime)], 'the runtime directory of the daemon'),
    ...trees([...sockets, ...ENGINE_PLACES], 'the control of a container engine'),
    ...runtimes.flatMap((path) => [
      ...trees(
        RUNTIME_TREES.map((name) => join(path, name)),
        'the control of containers and of the session',
      ),
      ...themselves([path], 'the runtime directory of the user'),
    ]),
    ...trees(
      [join(userHome, '.local/share'), ...data].map((path) => join(path, 'containers')),
      "podman's storage",
    ),
    ...trees(
      [join(userHome, '.config'), ...settings].map((path) => join(path, 'containers')),
      "podman's configuration",
    ),
  ]
}

/**
 * Refuses mounts that would show what gives power over the daemon, other loops or the host. Paths are compared as the
 * kernel sees them: links resolved, and other mounts of the same files recognised.
 */
export class MountGuard {
  readonly #places: readonly ProtectedPlace[]
  readonly #readTable: () => Promise<string>

  /** @param readTable reads the mounts of the host, as in `/proc/self/mountinfo` */
  constructor(
    places: readonly ProtectedPlace[],
    readTable: () => Promise<string> = () => readFile('/proc/self/mountinfo', 'utf8'),
  ) {
    this.#places = places
    this.#readTable = readTable
  }

  /**
   * Checks a source.
   * @param real its real path
   * @returns why it must not be mounted; undefined when it may
   */
  async check(real: string): Promise<string | undefined> {
    const mounts = parseMountInfo(await this.#readTable())
    for (const place of this.#places) {
      const relation = await relate(real, await canonical(place.path), mounts)
      if (relation === undefined || (relation === 'within' && place.scope === 'itself')) continue
      return `${WORDS[relation]} ${place.what} (${place.path})`
    }
    return undefined
  }
}

async function relate(source: string, place: string, mounts: readonly HostMount[]): Promise<Relation | undefined> {
  const direct = relationOf(source, place)
  if (direct !== undefined) return direct
  const spot = spotOf(place, mounts)
  for (const shown of spotsShownBy(source, mounts)) {
    if (spot?.device !== shown.device) continue
    const relation = relationOf(shown.path, spot.path)
    if (relation !== undefined) return relation
  }
  return (await isSameFile(source, place)) ? 'is' : undefined
}

/** A place that does not exist yet may exist later: then it is where its closest existing parent leads. */
async function canonical(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (errorCode(error) === undefined || dirname(path) === path) throw error
    return join(await canonical(dirname(path)), basename(path))
  }
}

/** By device and inode: hard links have no other mark. */
async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([statOf(one), statOf(other)])
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino
}

async function statOf(path: string) {
  try {
    return await stat(path, { bigint: true })
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}
