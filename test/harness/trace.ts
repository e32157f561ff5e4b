/** What there is of a workspace on this host and in podman, to see that it stayed as it was, or that it is gone. */
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ask } from './podman-ask.ts'
import { argumentsOf } from './workspace.ts'

const execute = promisify(execFile)

/** Lists a directory with owners, times and checksums. The log goes on by itself. */
const LIST = [
  "find . -path ./log -prune -o -printf '%m %U:%G %i %T@ %p %l\\n' | LC_ALL=C sort -k 5",
  'find . -path ./log -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort -k 2',
].join(' && ')

/** Every file of a home with its bytes, those of sub-uids included, as text. */
export async function homeListing(home: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  // Only root of the user's own namespace may read all of it.
  const options = { cwd: home, env, maxBuffer: 64 * 1024 * 1024 }
  const { stdout } = await execute('podman', ['unshare', 'sh', '-c', LIST], options)
  return stdout
}

/** All that podman says of the containers and networks with a label. */
export async function inspectAll(socketPath: string, label: string): Promise<unknown[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
  const containers = await list(socketPath, `/containers/json?all=true&filters=${filters}`)
  const networks = await list(socketPath, `/networks/json?filters=${filters}`)
  return await Promise.all([
    ...containers.map(({ Id }) => inspectContainer(socketPath, String(Id))),
    ...networks.map(({ name }) => inspectNetwork(socketPath, String(name))),
  ])
}

/** Of the commands in a container those that run count: podman forgets others when it comes to it. */
async function inspectContainer(socketPath: string, id: string): Promise<unknown> {
  const container = await ask(socketPath, `/v4.0.0/libpod/containers/${id}/json`)
  const commands = Object(container).ExecIDs
  const known = Array.isArray(commands) ? commands.map(String) : []
  const states = await Promise.all(known.map((command) => ask(socketPath, `/v4.0.0/libpod/exec/${command}/json`)))
  return { ...Object(container), ExecIDs: known.filter((_command, index) => Object(states[index]).Running === true) }
}

/** Of a network that it made itself podman tells fewer options than of one that it read again since. */
async function inspectNetwork(socketPath: string, name: string): Promise<unknown> {
  const network = await ask(socketPath, `/v4.0.0/libpod/networks/${name}/json`)
  return Object.fromEntries(Object.entries(network ?? {}).filter(([key]) => key !== 'options'))
}

/**
 * All that podman has: containers (of builds, too), networks and volumes as JSON, and the names of images. An image that
 * others use also remembers names that it once had; nobody finds it by them.
 */
export async function podmanThings(socketPath: string): Promise<string[]> {
  const kinds = ['containers/json?all=true&external=true', 'networks/json', 'volumes/json']
  const things = await Promise.all(kinds.map((kind) => list(socketPath, `/${kind}`)))
  const images = await list(socketPath, '/images/json')
  return [...things.flat().map((thing) => JSON.stringify(thing)), ...images.flatMap(({ Names }) => namesOf(Names))]
}

function namesOf(names: unknown): string[] {
  return Array.isArray(names) ? names.map(String) : []
}

async function list(socketPath: string, path: string): Promise<Record<string, unknown>[]> {
  const answer = await ask(socketPath, `/v4.0.0/libpod${path}`)
  return Array.isArray(answer) ? answer : []
}

/** Where programs of this user leave files that are no part of a home. */
export function commonPlaces(env: Readonly<Record<string, string | undefined>>): string[] {
  const { HOME = homedir(), XDG_RUNTIME_DIR = '' } = env
  return [XDG_RUNTIME_DIR, join(HOME, '.config'), join(HOME, '.local/share/containers/storage/networks'), tmpdir()]
}

/** How many directories deep {@link filesNamed} looks. */
const MAX_DEPTH = 4

/** Paths below some directories of which the name holds one of the marks. What may not be read is passed over. */
export async function filesNamed(
  directories: readonly string[],
  marks: readonly string[],
  depth = MAX_DEPTH,
): Promise<string[]> {
  const found: string[] = []
  for (const directory of depth === 0 ? [] : directories) {
    for (const entry of await entriesOf(directory)) {
      const path = join(directory, entry.name)
      if (marks.some((mark) => entry.name.includes(mark))) found.push(path)
      else if (entry.isDirectory()) found.push(...(await filesNamed([path], marks, depth - 1)))
    }
  }
  return found
}

async function entriesOf(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EACCES' || code === 'ENOENT') return []
    throw error
  }
}

/** Command lines of processes, of this user or its loops, that hold one of the marks. */
export async function processesNaming(marks: readonly string[]): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const lines = (await Promise.all(pids.map(argumentsOf))).map((line) => line.replaceAll('\0', ' '))
  return lines.filter((line) => marks.some((mark) => line.includes(mark)))
}
