/** Decides what a bootstrapped base consists of: pure, but for the function that reads the host. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type AptSourceFile, pickSources } from './apt-source.ts'
import { readOptional } from './image-input.ts'
import { shortHash } from './image-recipe.ts'

/** The release that a host of another distribution bootstraps. */
const DEBIAN_STABLE = 'trixie'

/** Packages of a base beyond the essential ones. Ubuntu does not count apt among them. */
const PACKAGES = ['apt', 'ca-certificates']

/** The host's distribution, as far as bootstrapping cares. */
export interface HostSystem {
  /** Text of `/etc/os-release`; empty when there is none. */
  readonly osRelease: string
  readonly aptSources: readonly AptSourceFile[]
  /** As the runtime calls it (`x64`). */
  readonly architecture: string
}

/** What to bootstrap. */
export interface BootstrapPlan {
  /** For people: `Debian bookworm`. */
  readonly title: string
  readonly suite: string
  readonly components: readonly string[]
  readonly packages: readonly string[]
  /** One-line entries; empty: what the tool takes by default for the suite. */
  readonly mirrors: readonly string[]
  /** Changes when any of the above does, or the architecture. */
  readonly key: string
}

/** Plans a base of the host's own release when that is Debian or Ubuntu, else of Debian's stable one. */
export function planBootstrap(host: HostSystem): BootstrapPlan {
  const release = parseOsRelease(host.osRelease)
  const suite = release.VERSION_CODENAME
  const known = (release.ID === 'debian' || release.ID === 'ubuntu') && /^[a-z]+$/.test(suite ?? '')
  if (!known || suite === undefined) return makePlan(host, 'debian', DEBIAN_STABLE, [])
  return makePlan(host, release.ID ?? '', suite, pickSources(host.aptSources, suite))
}

function makePlan(host: HostSystem, id: string, suite: string, mirrors: readonly string[]): BootstrapPlan {
  const components = id === 'ubuntu' ? ['main', 'universe'] : ['main']
  const title = `${id === 'ubuntu' ? 'Ubuntu' : 'Debian'} ${suite}`
  const parts = [host.architecture, title, components.join(), PACKAGES.join(), ...mirrors]
  return { title, suite, components, packages: PACKAGES, mirrors, key: shortHash(parts) }
}

/** Reads what {@link planBootstrap} needs. @param etc usually `/etc` */
export async function readHostSystem(etc: string, architecture: string): Promise<HostSystem> {
  const paths = [join(etc, 'apt/sources.list')]
  for (const name of await listSourceFiles(join(etc, 'apt/sources.list.d'))) paths.push(name)
  const aptSources: AptSourceFile[] = []
  for (const path of paths) {
    const text = await readOptional(path)
    if (text !== undefined) aptSources.push({ path, text })
  }
  return { osRelease: (await readOptional(join(etc, 'os-release'))) ?? '', aptSources, architecture }
}

async function listSourceFiles(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory)
    return names
      .filter((name) => /\.(?:list|sources)$/.test(name))
      .sort()
      .map((name) => join(directory, name))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function parseOsRelease(text: string): Partial<Record<string, string>> {
  const matches = text.matchAll(/^([A-Z_]+)=(?:"([^"\n]*)"|'([^'\n]*)'|(\S*))$/gm)
  return Object.fromEntries([...matches].map(([, key, a, b, c]) => [key, a ?? b ?? c ?? '']))
}
