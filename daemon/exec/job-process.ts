import { readdir, readFile, readlink } from 'node:fs/promises'
import { errorCode } from '../lib/error-code.ts'
import type { JobRecord } from './job-record.ts'

/** A process of this host. Its pid alone may be another's by now. */
export type HostProcess = NonNullable<JobRecord['process']>

/** A session of a container. */
export interface LeaderPlace {
  /** Pid of its first process, inside. */
  readonly id: number
  /** Host pid of the container's first process. */
  readonly containerPid: number
}

/** Finds the first process of a session of a container. */
export async function findLeader({ id, containerPid }: LeaderPlace): Promise<HostProcess | undefined> {
  const namespace = await namespaceOf(containerPid)
  if (namespace === undefined) return undefined
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || !(await leads(name, id)) || (await namespaceOf(Number(name))) !== namespace) continue
    const startTicks = await startOf(Number(name))
    if (startTicks !== undefined) return { pid: Number(name), startTicks, bootId: await bootId() }
  }
  return undefined
}

/** Reports whether a process has not ended, or its end was not noticed yet by its parent. */
export async function isAlive({ pid, startTicks, bootId: boot }: HostProcess): Promise<boolean> {
  return (await startOf(pid)) === startTicks && boot === (await bootId())
}

async function leads(pid: string, session: number): Promise<boolean> {
  const text = await unlessGone(readFile(`/proc/${pid}/status`, 'utf8'))
  const inside = (field: string) => {
    const numbers =
      new RegExp(`^${field}:((?:\\s+\\d+)+)$`, 'm')
        .exec(text ?? '')?.[1]
        ?.trim()
        .split(/\s+/) ?? []
    return numbers.length < 2 ? undefined : Number(numbers.at(-1))
  }
  return inside('NSpid') === session && inside('NSsid') === session
}

/** When a process began, in ticks since the host did. */
async function startOf(pid: number): Promise<string | undefined> {
  const text = await unlessGone(readFile(`/proc/${pid}/stat`, 'utf8'))
  // Behind the name, which may hold anything; field 22 of all.
  return text
    ?.slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .at(19)
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}

function namespaceOf(pid: number): Promise<string | undefined> {
  return unlessGone(readlink(`/proc/${pid}/ns/pid`))
}

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errorCode(error) ?? '')) return undefined
    throw error
  }
}
