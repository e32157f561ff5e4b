/**
 * loopctl: joins the command line to this process, and does nothing else. What only some commands need is loaded when
 * they need it: everybody waits for what is imported here.
 */
import { commandPath } from './command-name.ts'
import type { Display, Host } from './context.ts'
import { exitCodeOf, signalExitCode } from './exit.ts'
import { Output } from './output.ts'
import { run } from './run.ts'
import { patientOutputs } from './terminal-output.ts'

/**
 * Node.js leaves one thing on that a terminal does to output in its raw mode: a line feed becomes a new line, so that
 * programs which mean "one line down" draw nonsense. `stty` switches it off; putting the mode back undoes both. A host
 * without `stty` keeps what Node.js does.
 */
function setRawMode(raw: boolean): void {
  process.stdin.setRawMode(raw)
  if (raw)
    process
      .getBuiltinModule('node:child_process')
      .spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] })
}

/**
 * The signal is sent again when nobody listens any more, so that the system does with it what it always does: a program
 * that nobody could continue is not stopped.
 */
function onSuspend(before: () => Promise<void>, after: () => void): () => void {
  let isWanted = true
  const listener = async () => {
    process.off('SIGTSTP', listener)
    await before()
    process.kill(process.pid, 'SIGTSTP')
    // Here it goes on when it is continued.
    if (isWanted) process.on('SIGTSTP', listener)
    after()
  }
  process.on('SIGTSTP', listener)
  return () => {
    isWanted = false
    process.off('SIGTSTP', listener)
  }
}

const host: Host = {
  env: process.env,
  cwd: process.cwd(),
  get stdin() {
    return process.stdin
  },
  stdout: process.stdout,
  stderr: process.stderr,
  patient: patientOutputs(process),
  signals: process,
  onSuspend,
  setRawMode,
  now: () => Date.now(),
  exit: (code) => process.exit(code),
  atExit: (listener) => {
    process.once('exit', listener)
    return () => process.off('exit', listener)
  },
  workspace: async () => (await import('@loopatd/protocol/socket')).findWorkspace(),
  connect: async ({ start, onStart, signal }) => {
    const [{ connect }, { VERSION }] = await Promise.all([
      import('@loopatd/client'),
      import('@loopatd/protocol/version'),
    ])
    return await connect(
      { client: { name: 'loopctl', version: VERSION }, autostart: start && { onStarting: onStart } },
      signal,
    )
  },
}

/** Nobody reads any more (`loopctl ls | head`): other programs are ended by SIGPIPE then, without a word. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE' || error.code === 'EIO') process.exit(signalExitCode('SIGPIPE'))
  throw error
}

/**
 * What nobody caught. It is told after everything else that waits for the end has had its turn: a terminal that is
 * still raw cannot show it.
 */
function onDefect(error: unknown): void {
  process.once('exit', () => new Output(process.stdout, process.stderr, process.env).error(error))
  process.exit(exitCodeOf(error, commandPath(process.argv.slice(2))))
}

function flushed(stream: Display): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()))
}

process.on('uncaughtException', onDefect)
process.stdout.on('error', onOutputError)
process.stderr.on('error', onOutputError)
/** No top-level await: the bundle is one CommonJS file, which starts much sooner than the same as an ES module. */
async function main(): Promise<void> {
  const code = await run(process.argv.slice(2), host)
  await Promise.all([flushed(process.stdout), flushed(process.stderr)])
  // Something may still wait for input that nobody wants any more.
  process.exit(code)
}

void main()
