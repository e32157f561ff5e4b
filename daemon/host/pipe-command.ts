import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { directoryOf, isText, type StartWords, shellWords } from './command-word.ts'
import { exitCodeOf, type HostProcess } from './host-process.ts'
import type { HostCommand } from './host-run.ts'
import type { PipeStock } from './pipe-stock.ts'

/**
 * Starts a command on pipes, in a session of its own.
 * @param cwd path that leads to the directory until this resolves
 * @throws the system's error
 */
export async function startOnPipes(command: HostCommand, cwd: string, stock: PipeStock): Promise<HostProcess> {
  const pipes = await stock.take()
  const [stdout, stderr] = pipes
  try {
    const { file, args, argv0 } = wordsOf(command)
    const child = spawn(file, args, {
      cwd,
      detached: true,
      env: { ...command.env, PWD: directoryOf(command) },
      stdio: ['pipe', stdout.theirs, stderr.theirs],
      ...(argv0 === undefined ? {} : { argv0 }),
    })
    const exited = new Promise<number>((resolve) => {
      child.once('exit', (code, signal) => resolve(exitCodeOf(code, signal)))
    })
    // It has been executed by now, or has failed.
    const { pid, stdin } = child
    if (pid === undefined || stdin === null) throw await failureOf(child)
    return { pid, stdin, stdout: stdout.ours, stderr: stderr.ours, exited, resize: () => undefined }
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

function wordsOf(command: HostCommand): StartWords & { readonly argv0?: string } {
  if (!isText(command)) return shellWords(command)
  const [argv0 = command.path, ...args] = command.argv.map((word) => word.toString())
  return { file: command.path, args, argv0 }
}
