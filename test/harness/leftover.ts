import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { argumentsOf, type TestWorkspace } from './workspace.ts'

/** How long a directory of which something goes away is looked at again, and how often, in milliseconds. */
const LOOK_MS = 5000
const PAUSE_MS = 50

/** What commands in a loop could leave behind. */
export interface Trace {
  /** Programs inside the container, one name per process: what else stands in their arguments may count commands. */
  readonly inside: readonly string[]
  /** How many processes of podman watch the container or a command in it. */
  readonly watchers: number
  /** What the descriptors of the daemon lead to, but for sockets. */
  readonly descriptors: readonly string[]
  /** How many of them are sockets: clients, and podman. */
  readonly sockets: number
  /** Files, pipes and sockets in the control directory, and in what the loop may write. */
  readonly files: readonly string[]
}

/** Looks at what there is now. Two looks while nothing runs are alike when nothing was left behind in between. */
export async function trace(workspace: TestWorkspace, loopId: string): Promise<Trace> {
  const pid = await workspace.daemonPid()
  const [container] = await workspace.containers()
  const id = container?.id ?? 'no container'
  const details = await workspace.engine.container.inspect(id)
  const links = await linksOf(pid)
  const run = join(workspace.home, 'loops', loopId, 'run')
  return {
    inside: await programsInside(details?.pid ?? 0),
    watchers: (await wordsOfAll()).filter((words) => /\bconmon\b/.test(words) && words.includes(id)).length,
    descriptors: links.filter((link) => link !== 'socket').sort(),
    sockets: links.filter((link) => link === 'socket').length,
    files: [...(await namesBelow(join(workspace.runtimeDir, 'control'))), ...(await namesBelow(run))],
  }
}

/** Processes that share the pid namespace of the container's first one. */
async function programsInside(first: number): Promise<string[]> {
  const namespace = await namespaceOf(String(first))
  const pids = await allPids()
  const namespaces = await Promise.all(pids.map(namespaceOf))
  const inside = pids.filter((_pid, index) => namespace !== undefined && namespaces[index] === namespace)
  return (await Promise.all(inside.map(readWords))).map((words) => words.split(' ')[0] ?? '').sort()
}

async function wordsOfAll(): Promise<string[]> {
  return await Promise.all((await allPids()).map(readWords))
}

async function allPids(): Promise<string[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
}

async function readWords(pid: string): Promise<string> {
  return (await argumentsOf(pid)).replaceAll('\0', ' ').trim()
}

async function namespaceOf(pid: string): Promise<string | undefined> {
  return await gone(readlink(`/proc/${pid}/ns/pid`))
}

/** Without the numbers of objects. */
async function linksOf(pid: number): Promise<string[]> {
  const directory = `/proc/${pid}/fd`
  const links = await Promise.all((await readdir(directory)).map((fd) => gone(readlink(join(directory, fd)))))
  return links.flatMap((link) => (link === undefined ? [] : [link.replace(/:\[\d+\]$/, '')]))
}

/** Directories of ended commands go away meanwhile; then it is looked again. */
async function namesBelow(directory: string): Promise<string[]> {
  const look = () => readdir(directory, { recursive: true, withFileTypes: true })
  const deadline = performance.now() + LOOK_MS
  let entries = await gone(look())
  while (entries === undefined && performance.now() < deadline) {
    await sleep(PAUSE_MS)
    entries = await gone(look())
  }
  return (entries ?? (await look())).map((entry) => `${join(entry.parentPath, entry.name)} ${kindOf(entry)}`).sort()
}

function kindOf(entry: { isFIFO(): boolean; isFile(): boolean; isDirectory(): boolean; isSocket(): boolean }): string {
  if (entry.isFIFO()) return 'pipe'
  if (entry.isSocket()) return 'socket'
  return entry.isDirectory() ? 'directory' : 'file'
}

/** Undefined for what goes away while it is looked at, or is not ours to look at. */
async function gone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return undefined
    throw error
  }
}
