import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { Side } from './contest.ts'

/** A program with its arguments. */
export interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv | undefined
}

/** How long one command may take, in milliseconds. */
const COMMAND_MS = 60_000

/** Clock ticks per second in `/proc/<pid>/stat`: the same on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100

/** Runs a command to its end. @returns milliseconds @throws Error when it fails, with what it said */
export async function timeToEnd(command: Command, signal: AbortSignal): Promise<number> {
  return (await follow(command, signal)).end
}

/** Runs a command. @returns milliseconds until it wrote something to stdout @throws Error when it fails or is silent */
export async function timeToOutput(command: Command, signal: AbortSignal): Promise<number> {
  const { output } = await follow(command, signal)
  if (output === undefined) throw new Error(`${shown(command)} printed nothing`)
  return output
}

/** A side that runs a command to its end, or several at once until the last one has ended. */
export function commandSide(label: string, command: Command, atOnce = 1): Side {
  return {
    label,
    sample: async (signal) => {
      const begin = performance.now()
      await Promise.all(Array.from({ length: atOnce }, () => timeToEnd(command, signal)))
      return performance.now() - begin
    },
  }
}

/** Runs a command to its end. @returns its stdout, and when it began to write and ended, in milliseconds */
export async function follow(
  command: Command,
  signal: AbortSignal,
): Promise<{ readonly stdout: string; readonly output: number | undefined; readonly end: number }> {
  const { program, args, env = process.env } = command
  signal.throwIfAborted()
  const begin = performance.now()
  // A group of its own: what a shell of it has started must end with it.
  const child = spawn(program, [...args], { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const closed = once(child, 'close')
  const stop = () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
  }
  let isLate = false
  const late = setTimeout(() => {
    isLate = true
    stop()
  }, COMMAND_MS)
  signal.addEventListener('abort', stop, { once: true })
  let output: number | undefined
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    output ??= performance.now() - begin
    said.stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    said.stderr += chunk.toString()
  })
  let code: unknown
  try {
    ;[code] = await closed
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', stop)
  }
  const end = performance.now() - begin
  signal.throwIfAborted()
  if (isLate) throw new Error(`${shown(command)} took longer than ${COMMAND_MS} ms: ${said.stderr}`)
  if (code !== 0) throw new Error(`${shown(command)} exited with ${code}: ${said.stderr}`)
  return { stdout: said.stdout, output, end }
}

function shown({ program, args }: Command): string {
  return [program, ...args].join(' ')
}

/** Ends a process that was started here, and waits for it. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** Processor time that a process has used so far, all threads, in milliseconds. */
export async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // The name comes second, in parentheses, and may hold anything; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND
}
