/** loopctl: joins the command line to this process, and does nothing else. */
import { spawnSync } from 'node:child_process'
import { findWorkspace } from '@loopatd/protocol/socket'
import { VERSION } from '@loopatd/protocol/version'
import type { Display, Host } from './context.ts'
import { signalExitCode } from './exit.ts'
import { run } from './run.ts'

/**
 * Node.js leaves one thing on that a terminal does to output in its raw mode: a line feed becomes a new line, so that
 * programs which mean "one line down" draw nonsense. `stty` switches it off; putting the mode back undoes both. A host
 * without `stty` keeps what Node.js does.
 */
function setRawMode(raw: boolean): void {
  process.stdin.setRawMode(raw)
  if (raw) spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] })
}

const host: Host = {
  env: process.env,
  cwd: process.cwd(),
  get stdin() {
    return process.stdin
  },
  stdout: process.stdout,
  stderr: process.stderr,
  signals: process,
  setRawMode,
  now: () => Date.now(),
  exit: (code) => process.exit(code),
  atExit: (listener) => {
    process.once('exit', listener)
    return () => process.off('exit', listener)
  },
  workspace: () => findWorkspace(),
  connect: async ({ start, onStart, signal }) => {
    // Loaded only when a daemon is asked: `version` and `--help` need no JSON-RPC.
    const { connect } = await import('@loopatd/client')
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

function flushed(stream: Display): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()))
}

process.stdout.on('error', onOutputError)
process.stderr.on('error', onOutputError)
const code = await run(process.argv.slice(2), host)
await Promise.all([flushed(process.stdout), flushed(process.stderr)])
// Something may still wait for input that nobody wants any more.
process.exit(code)
