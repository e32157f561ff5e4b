import { readFile } from 'node:fs/promises'
import { processesOf, unlessGone } from './container-process.ts'
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
  const processes = await processesOf([containerPid])
  const leader = processes.find(({ pidInside, session }) => pidInside === id && session === id)
  const startTicks = leader && (await startOf(leader.pid))
  if (leader === undefined || startTicks === undefined) return undefined
  return { pid: leader.pid, startTicks, bootId: await bootId() }
}

/** Reports whether a process has not ended, or its end was not noticed yet by its parent. */
export async function isAlive({ pid, startTicks, bootId: boot }: HostProcess): Promise<boolean> {
  return (await startOf(pid)) === startTicks && boot === (await bootId())
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
