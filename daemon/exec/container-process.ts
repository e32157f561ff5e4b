import { readdir, readFile, readlink } from 'node:fs/promises'
import { errorCode } from '../lib/error-code.ts'

/** A process of a container, as the host sees it. */
export interface ContainerProcess {
  /** Of the host, like its parent's. */
  readonly pid: number
  readonly parent: number
  /** As its container numbers them. */
  readonly pidInside: number
  readonly group: number
  readonly session: number
  /** Host pid of the first process of its container. */
  readonly containerPid: number
}

/**
 * All processes of containers.
 * @param containerPids host pids of their first processes
 */
export async function processesOf(containerPids: readonly number[]): Promise<ContainerProcess[]> {
  const namespaces = new Map<string | undefined, number>()
  for (const pid of containerPids) namespaces.set(await namespaceOf(pid), pid)
  namespaces.delete(undefined)
  const processes: ContainerProcess[] = []
  for (const name of namespaces.size === 0 ? [] : await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const found = await lookAt(Number(name))
    const containerPid = found && namespaces.get(await namespaceOf(found.pid))
    if (found !== undefined && containerPid !== undefined) processes.push({ ...found, containerPid })
  }
  return processes
}

/** Undefined for those of the host, and for those that have ended. */
async function lookAt(pid: number): Promise<Omit<ContainerProcess, 'containerPid'> | undefined> {
  const text = await unlessGone(readFile(`/proc/${pid}/status`, 'utf8'))
  if (text === undefined || /^State:\s+[ZX]/m.test(text)) return undefined
  const inside = (field: string) => {
    const numbers = new RegExp(`^${field}:((?:\\s+\\d+)+)$`, 'm').exec(text)?.[1]?.trim().split(/\s+/) ?? []
    return numbers.length < 2 ? undefined : Number(numbers.at(-1))
  }
  const [pidInside, group, session] = [inside('NSpid'), inside('NSpgid'), inside('NSsid')]
  if (pidInside === undefined || group === undefined || session === undefined) return undefined
  return { pid, parent: Number(/^PPid:\s+(\d+)$/m.exec(text)?.[1]), pidInside, group, session }
}

function namespaceOf(pid: number): Promise<string | undefined> {
  return unlessGone(readlink(`/proc/${pid}/ns/pid`))
}

/** Undefined for a process that has ended, or is not ours to look at. */
export async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}
