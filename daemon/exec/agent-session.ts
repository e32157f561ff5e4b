import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { ExecSignal } from '../engine/engine.ts'
import { errorCode } from '../lib/error-code.ts'
import { type ContainerProcess, processesOf, unlessGone } from './container-process.ts'

/** Variable of every command that its children inherit, wherever they go: by it they are found again. */
export const EXEC_MARK = 'LOOPAT_EXEC'

/** What the marks of jobs begin with, which end with no daemon. */
export const JOB_MARK = 'job-'

/** Marks for the commands of one daemon. */
export class CommandMarks {
  readonly #prefix = `${randomBytes(8).toString('hex')}-`
  #last = 0

  /** One that no other command has. */
  next(): string {
    this.#last += 1
    return `${this.#prefix}${this.#last}`
  }

  /** Reports whether a mark is one of these. */
  has(mark: string): boolean {
    return mark.startsWith(this.#prefix)
  }
}

/** What a command has started in a container. */
export interface Session {
  /** Pid inside of the session's first process; undefined when it is not known. */
  readonly id?: number | undefined
  /** Host pid of the container's first process. */
  readonly containerPid: number
  /** Value of {@link EXEC_MARK}; undefined when there is none. */
  readonly mark?: string | undefined
}

/** Rounds in which processes that were being created are looked for again. */
const MAX_ROUNDS = 5

/**
 * Sends a signal to what a command has started. TERM and KILL go to its whole session, to children of its processes
 * that have left it, and to all that bear its mark; other signals to the process group of the command, as a terminal
 * would do it. Who has left the session, lost its parents and emptied its environment is not found.
 * @returns whether there was anything
 */
export async function signalSession(session: Session, signal: ExecSignal): Promise<boolean> {
  const isEnd = signal === 'SIGTERM' || signal === 'SIGKILL'
  let wasThere = false
  for (let round = 0; round < (signal === 'SIGKILL' ? MAX_ROUNDS : 1); round += 1) {
    const found = isEnd ? await membersOf(session) : await groupOf(session)
    for (const pid of found) wasThere = send(pid, signal) || wasThere
    if (found.length === 0) break
  }
  return wasThere
}

/** Reports whether a process is left that TERM and KILL would go to. */
export async function hasSession(session: Session): Promise<boolean> {
  return (await membersOf(session)).length > 0
}

/**
 * Ends commands whose daemon is gone: nobody reads what they say, and nobody will end them. What such a command has
 * sent away on purpose, into the care of the container's first process, stays.
 * @param containerPids host pids of the containers' first processes
 * @param isKnown tells marks of commands that have a daemon
 * @param pause between TERM and KILL
 * @returns how many there were
 */
export async function endOrphans(
  containerPids: readonly number[],
  isKnown: (mark: string) => boolean,
  pause: () => Promise<void>,
): Promise<number> {
  const orphans = await orphansOf(containerPids, isKnown)
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const left = await Promise.all(orphans.map((session) => signalSession(session, signal)))
    if (!left.includes(true)) break
    if (signal === 'SIGTERM') await pause()
  }
  return orphans.length
}

/** Commands that are not in the care of the first process of their container. */
async function orphansOf(containerPids: readonly number[], isKnown: (mark: string) => boolean): Promise<Session[]> {
  const processes = await processesOf(containerPids)
  const marks = new Map<number, string>()
  for (const { pid } of processes) {
    const mark = await markOf(pid)
    if (mark !== undefined && !isKnown(mark)) marks.set(pid, mark)
  }
  const found = new Map<string, Session>()
  for (const { pid, parent, containerPid } of processes) {
    const mark = marks.get(pid)
    if (mark !== undefined && !marks.has(parent) && parent !== containerPid) found.set(mark, { containerPid, mark })
  }
  return [...found.values()]
}

/** Kills the processes of a container that have a certain argument, also such as were stopped. */
export async function killByArgument(argument: string, containerPid: number): Promise<void> {
  for (const { pid } of await processesOf([containerPid])) {
    const line = (await unlessGone(readFile(`/proc/${pid}/cmdline`, 'utf8'))) ?? ''
    if (line.split('\0').includes(argument)) send(pid, 'SIGKILL')
  }
}

/** Host pids of what is in the process group of the session's first process. */
async function groupOf({ id, containerPid }: Session): Promise<number[]> {
  return (await processesOf([containerPid])).filter(({ group, session }) => session === id && group === id).map(pidOf)
}

/** Host pids of all that belongs to the session. */
async function membersOf({ id, containerPid, mark }: Session): Promise<number[]> {
  const processes = await processesOf([containerPid])
  const members = new Set(processes.filter(({ session }) => session === id).map(pidOf))
  if (mark !== undefined) for (const { pid } of processes) if (await isMarked(pid, mark)) members.add(pid)
  for (let size = -1; size !== members.size; ) {
    size = members.size
    for (const { pid, parent } of processes) if (members.has(parent)) members.add(pid)
  }
  return [...members]
}

async function isMarked(pid: number, mark: string): Promise<boolean> {
  return (await markOf(pid)) === mark
}

async function markOf(pid: number): Promise<string | undefined> {
  const environment = (await unlessGone(readFile(`/proc/${pid}/environ`, 'latin1'))) ?? ''
  const prefix = `${EXEC_MARK}=`
  const [entry] = environment.split('\0').filter((variable) => variable.startsWith(prefix))
  return entry?.slice(prefix.length)
}

function pidOf({ pid }: ContainerProcess): number {
  return pid
}

function send(pid: number, signal: ExecSignal): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if (errorCode(error) === 'ESRCH' || errorCode(error) === 'EPERM') return false
    throw error
  }
}
