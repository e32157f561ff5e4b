import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { exitCodeOf, type HostProcess } from './host-process.ts'
import type { PipeStock } from './pipe-stock.ts'

/** A program to be started, and its whole environment. */
export interface PipedProgram {
  readonly file: string
  readonly args: readonly string[]
  /** Its first word; default: `file`. */
  readonly argv0?: string | undefined
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

/** A process on pipes. */
export interface PipedProcess extends HostProcess {
  /** A stream both ways on its descriptor 3. */
  readonly channel: Duplex | undefined
}

/**
 * Starts a program on pipes, in a session of its own.
 * @param hasChannel whether it gets a descriptor 3
 * @throws the system's error
 */
export async function spawnPiped(
  { file, args, argv0, cwd, env }: PipedProgram,
  stock: PipeStock,
  { hasChannel = false } = {},
): Promise<PipedProcess> {
  const pipes = await stock.take()
  const [stdout, stderr] = pipes
  try {
    const child = spawn(file, args, {
      cwd,
      detached: true,
      env: { ...env },
      stdio: ['pipe', stdout.theirs, stderr.theirs, ...(hasChannel ? ['pipe' as const] : [])],
      ...(argv0 === undefined ? {} : { argv0 }),
    })
    const exited = new Promise<number>((resolve) => {
      child.once('exit', (code, signal) => resolve(exitCodeOf(code, signal)))
    })
    // It has been executed by now, or has failed.
    const { pid, stdin } = child
    if (pid === undefined || stdin === null) throw await failureOf(child)
    const channel = child.stdio[3]
    return {
      pid,
      stdin,
      stdout: stdout.ours,
      stderr: stderr.ours,
      exited,
      resize: () => undefined,
      channel: channel instanceof Duplex ? channel : undefined,
    }
  } catch (error) {
    for (const { ours } of pipes) ours.destroy()
    throw error
  } finally {
    for (const { theirs } of pipes) closeSync(theirs)
  }
}

async function failureOf(child: ChildProcess): Promise<unknown> {
  const [error]: unknown[] = await once(child, 'error')
  return error
}
