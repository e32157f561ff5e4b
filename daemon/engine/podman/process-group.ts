import { readdir, readFile, readlink } from 'node:fs/promises'
import type { ExecSignal } from '../engine.ts'

/**
 * A process group of a container as the host sees it. The pid namespace tells it from a later group of the host that
 * got the same number.
 */
export interface ProcessGroup {
  readonly id: number
  /** The link text of the pid namespace. */
  readonly namespace: string
}

/**
 * Finds the group that a process of a container leads or belongs to.
 * @param pid host pid of the process
 * @param containerPid host pid of the container's first process
 * @returns undefined when either is gone, or the process is not in the container
 */
export async function findGroup(pid: number, containerPid: number): Promise<ProcessGroup | undefined> {
  const before = await readStat(pid)
  const namespace = await readNamespace(containerPid)
  const after = await readStat(pid)
  // The same start time before and after: all was read of one process.
  if (before === undefined || after === undefined || before.startTime !== after.startTime) return undefined
  if (namespace === undefined || (await readNamespace(pid)) !== namespace) return undefined
  // Never the group of this daemon, nor the special values of kill(2).
  if (after.group <= 1 || after.group === process.pid) return undefined
  return { id: after.group, namespace }
}

/**
 * Sends a signal to all processes of the group, also when its leader has ended.
 * @returns whether there were any
 */
export async function signalGroup(group: ProcessGroup, signal: ExecSignal): Promise<boolean> {
  if (!(await hasMembers(group))) return false
  return send(-group.id, signal)
}

/** Reports whether the group still has a process in its container. */
export async function hasMembers(group: ProcessGroup): Promise<boolean> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const pid = Number(name)
    const stat = await readStat(pid)
    if (stat?.group !== group.id || stat.state === 'Z') continue
    if ((await readNamespace(pid)) === group.namespace) return true
  }
  return false
}

interface Stat {
  readonly state: string
  readonly group: number
  readonly startTime: string
}

/** Fields of /proc/PID/stat; the command name before them may hold anything, also spaces and brackets. */
async function readStat(pid: number): Promise<Stat | undefined> {
  const text = await unlessGone(readFile(`/proc/${pid}/stat`, 'utf8'))
  if (text === undefined) return undefined
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] ?? '', group: Number(fields[2]), startTime: fields[19] ?? '' }
}

async function readNamespace(pid: number): Promise<string | undefined> {
  return await unlessGone(readlink(`/proc/${pid}/ns/pid`))
}

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES')) return undefined
    throw error
  }
}

function send(target: number, signal: ExecSignal): boolean {
  try {
    return process.kill(target, signal)
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false
    throw error
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
