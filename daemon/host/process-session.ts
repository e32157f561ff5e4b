import { readdir, readFile } from 'node:fs/promises'
import { errorCode } from '../lib/error-code.ts'
import { endMarked } from '../lib/marked-process.ts'
import { MARK_NAME } from './host-run.ts'

/** Where to find all that a command has started: the session that it leads, and the mark in its environment. */
export interface CommandTrace {
  /** Unknown when the command may have begun without our being told. */
  readonly pid: number | undefined
  readonly mark: string | undefined
}

/** The trace of a command with that environment. */
export function traceOf(pid: number | undefined, env: Readonly<Record<string, string>>): CommandTrace {
  return { pid, mark: env[MARK_NAME] }
}

/** Sends a signal to a process group, if there still is one. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  signalProcess(-pid, signal)
}

/** Sends a signal to the group that leads a session, and to all others of the session. */
export async function signalSession(pid: number, signal: NodeJS.Signals): Promise<void> {
  signalGroup(pid, signal)
  for (const { pid: member, group } of await membersOf(pid)) if (group !== pid) signalProcess(member, signal)
}

/** Whether anything of a session runs. */
export async function sessionLives(pid: number): Promise<boolean> {
  return (await membersOf(pid)).length > 0
}

/** Kills all that a command has started, at once what is in its group. Resolves when nothing is left. */
export async function killAll(trace: CommandTrace): Promise<void> {
  // Twice, for who was just being started while we looked.
  for (const pid of [trace.pid, trace.pid]) if (pid !== undefined) await signalSession(pid, 'SIGKILL')
  if (trace.mark !== undefined) await endMarked({ [MARK_NAME]: trace.mark })
}

/** Processes of a session that have not ended. */
async function membersOf(session: number): Promise<{ readonly pid: number; readonly group: number }[]> {
  const names = (await readdir('/proc')).filter((name) => /^[1-9][0-9]*$/.test(name))
  const looks = await Promise.all(names.map(async (name) => ({ pid: Number(name), ...(await lookAt(name)) })))
  return looks.flatMap(({ pid, group, session: its }) =>
    its === session && group !== undefined ? [{ pid, group }] : [],
  )
}

async function lookAt(pid: string): Promise<{ readonly group?: number; readonly session?: number }> {
  try {
    // The name of the program, in parentheses, may hold anything.
    const text = await readFile(`/proc/${pid}/stat`, 'latin1')
    const [state = 'Z', , group, session] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return 'ZX'.includes(state) ? {} : { group: Number(group), session: Number(session) }
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errorCode(error) ?? '')) return {}
    throw error
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    // It ended in this moment, or has become another user.
    if (!['ESRCH', 'EPERM'].includes(errorCode(error) ?? '')) throw error
  }
}
