import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ask } from '../harness/podman-ask.ts'
import type { TestWorkspace } from '../harness/workspace.ts'

/** What builds and imports work in, podman's and ours. */
const SCRATCH = '/var/tmp'
const SCRATCH_NAME = /^(?:buildah|libpod_builder|storage)\d+$|^loopat-base-/

/** What is to be in the runtime directory while a daemon serves. */
const RUNTIME = new Set([
  'containers.conf',
  'control',
  'loopatd.sock',
  'loopatd.sock.lock',
  'podman.pid',
  'podman.sock',
])

/** Files that only something unfinished has: temporary ones, marks of half-made loops, locks and parts of git. */
const UNFINISHED = /\.tmp~$|(^|\/)\.(creating$|removing-|probe$|new-|kept-)|\/tmp_|.\.lock$/

/** What podman's list of all containers, those of other programs included, tells about one. */
interface Listed {
  readonly Id: string
  readonly Names: readonly string[] | null
  readonly Labels: Readonly<Record<string, string>> | null
}

/**
 * Compares what podman, the file systems and the processes hold with what should be there: the workspace's loops, one
 * daemon and one podman service.
 * @param ids ids of the loops
 * @returns what should not be there, in words
 */
export async function findLeftovers(workspace: TestWorkspace, ids: ReadonlySet<string>): Promise<string[]> {
  const socket = workspace.service.socketPath
  const containers = (await ask(socket, '/v4.0.0/libpod/containers/json?all=true&external=true')) as readonly Listed[]
  const isKnown = ({ Labels: labels }: Pick<Listed, 'Labels'>) => ids.has(labels?.['loopat.loop-id'] ?? '')
  const known = new Set(containers.filter(isKnown).map(({ Id }) => Id))
  const ours = `loopat-${workspace.name}-`
  const strays = containers.filter(({ Id, Names }) => {
    const name = Names?.[0] ?? ''
    return name.includes('-working-container') || (name.startsWith(ours) && !known.has(Id))
  })
  const networks = await workspace.engine.network.list({ 'loopat.workspace': workspace.name })
  const found = await Promise.all([
    strays.map((container) => `container ${JSON.stringify(container)}`),
    networks.filter(({ labels }) => !isKnown({ Labels: labels })).map(({ name }) => `network ${name}`),
    ofBuilds(workspace),
    inHome(workspace.home, ids),
    inRuntime(workspace.runtimeDir, ids),
    inScratch(),
    amongProcesses(workspace, known),
  ])
  return found.flat()
}

/**
 * Processes that podman keeps for containers of the workspace, those for commands included. These stay for some
 * seconds after the command.
 */
export async function listMonitors({ name }: TestWorkspace): Promise<string[]> {
  return (await listProcesses())
    .map(({ words }) => words)
    .filter((words) => isMonitor(words, name))
    .map(String)
}

async function ofBuilds({ engine, service }: TestWorkspace): Promise<string[]> {
  // No build succeeds: also an image with a name is none that should be there.
  const filters = JSON.stringify({ label: ['loopat.content-hash'] })
  const path = `/v4.0.0/libpod/images/json?all=true&filters=${encodeURIComponent(filters)}`
  const layers = (await ask(service.socketPath, path)) as readonly Pick<Listed, 'Id'>[]
  // One that is half written makes this list fail.
  if (!Array.isArray(layers)) return [JSON.stringify(layers)]
  const builds = await engine.image.list('localhost/loopat-build:')
  return [...layers.map(({ Id }) => `layer ${Id}`), ...builds.map(({ tags }) => `image ${tags}`)]
}

async function inHome(home: string, ids: ReadonlySet<string>): Promise<string[]> {
  const paths: string[] = []
  for (const path of ['', 'log']) paths.push(...(await namesIn(home, path)))
  for (const path of await readdir(join(home, 'mirrors'), { recursive: true })) paths.push(join('mirrors', path))
  const loops = await readdir(join(home, 'loops'))
  for (const loop of loops) paths.push(...(await namesIn(home, join('loops', loop))))
  return [
    ...paths.filter((path) => UNFINISHED.test(path)),
    ...loops.filter((name) => !ids.has(name)).map((name) => `loops/${name}`),
  ]
}

async function inRuntime(runtimeDir: string, ids: ReadonlySet<string>): Promise<string[]> {
  const names = (await readdir(runtimeDir)).filter((name) => !RUNTIME.has(name))
  const controls = (await readdir(join(runtimeDir, 'control'))).filter((name) => !ids.has(name))
  return [...names, ...controls.map((name) => `control/${name}`)].map((path) => join(runtimeDir, path))
}

async function inScratch(): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir(SCRATCH)) {
    if (!SCRATCH_NAME.test(name)) continue
    const path = join(SCRATCH, name)
    if ((await unlessGone(lstat(path)))?.uid === process.getuid?.()) found.push(path)
  }
  return found
}

async function amongProcesses({ name, home }: TestWorkspace, containers: ReadonlySet<string>): Promise<string[]> {
  const isStray = ({ words, environment }: Process): boolean => {
    if (isMonitor(words, name)) {
      const [container = '', session] = ['-c', '-u'].map((flag) => words[words.indexOf(flag) + 1])
      // One for a command stays for some seconds after it, whatever becomes of the container.
      return container === session && !containers.has(container)
    }
    if (words.some((word) => word === 'buildah-oci-runtime' || /^\/var\/tmp\/buildah\d/.test(word))) return true
    return words.includes('git') && environment.includes(`LOOPATD_HELPER_HOME=${home}`)
  }
  return (await listProcesses()).filter(isStray).map(({ words, stat }) => `process ${words.join(' ')}: ${stat}`)
}

function isMonitor(words: readonly string[], workspace: string): boolean {
  return words[0]?.endsWith('conmon') === true && words.some((word) => word.startsWith(`loopat-${workspace}-`))
}

interface Process {
  readonly words: readonly string[]
  readonly stat: string
  readonly environment: readonly string[]
}

/** Processes of this user, also those that hide, of which /proc shows the files as root's. */
async function listProcesses(): Promise<Process[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const all = await Promise.all(
    pids.map(async (pid) => {
      const read = async (file: string) =>
        (await unlessGone(readFile(`/proc/${pid}/${file}`, 'utf8')))?.split('\0') ?? []
      const [[status = ''], [stat = '']] = [await read('status'), await read('stat')]
      const isOurs = Number(/^Uid:\t(\d+)/m.exec(status)?.[1]) === process.getuid?.()
      const [words, environment] = isOurs ? [await read('cmdline'), await read('environ')] : [[], []]
      return { words, environment, stat: stat.slice(0, 60) }
    }),
  )
  return all.filter(({ words }) => words.length > 1)
}

async function namesIn(home: string, path: string): Promise<string[]> {
  return ((await unlessGone(readdir(join(home, path)))) ?? []).map((name) => join(path, name))
}

async function unlessGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    const codes = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM']
    if (error instanceof Error && 'code' in error && codes.includes(String(error.code))) return undefined
    throw error
  }
}
