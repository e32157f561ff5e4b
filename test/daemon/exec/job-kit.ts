import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { ContainerDetails } from '../../../daemon/engine/engine.ts'
import type { JobRecord } from '../../../daemon/exec/job-record.ts'

/** The container of {@link jobRecord}. No process has this pid: what is in the container is not found. */
export const RUNNING: ContainerDetails = {
  id: 'cid',
  name: 'c',
  labels: {},
  status: 'running',
  imageId: 'i',
  startedAt: '2025-12-31T00:00:00Z',
  finishedAt: undefined,
  exitCode: undefined,
  pid: 2 ** 30,
  address: undefined,
}

/** Starts a process of this host that stands for the first one of a job's session. */
export async function startLeader(): Promise<{ leader: ChildProcess; process: NonNullable<JobRecord['process']> }> {
  const leader = spawn('sleep', ['1000'], { stdio: 'ignore' })
  await once(leader, 'spawn')
  const pid = leader.pid ?? 0
  const startTicks = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(' ')[21] ?? ''
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  return { leader, process: { pid, startTicks, bootId } }
}

/** A job that runs, but for what a test wants otherwise. */
export function jobRecord(changes: Partial<JobRecord> = {}): JobRecord {
  return {
    version: 1,
    id: '0123abcd',
    loop: 'loop',
    command: ['make'],
    keepalive: true,
    maxLogBytes: 65_536,
    startedAt: '2026-01-01T00:00:00.000Z',
    state: 'running',
    container: { name: 'c', id: 'cid', startedAt: '2025-12-31T00:00:00Z' },
    session: 7,
    ...changes,
  }
}
