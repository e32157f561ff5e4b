import { isLoopatError } from '@loopatd/protocol/error'
import { commandPath } from './command-name.ts'
import type { Context, Host } from './context.ts'
import { exitCodeOf, InterruptedError, isBrokenPipe, signalExitCode } from './exit.ts'
import { Output } from './output.ts'
import { Signals } from './signals.ts'

/**
 * Runs one command of loopctl.
 * @param argv words after `loopctl`
 * @returns the exit code; never throws: what fails is printed
 */
export async function run(argv: readonly string[], host: Host): Promise<number> {
  using signals = new Signals(host.signals)
  const signal = interruptible(signals, host)
  const context = makeContext(host, signals, signal)
  try {
    await dispatch(argv, context)
    return context.exitCode
  } catch (thrown) {
    // What was cancelled because of a signal says that it was cancelled: the signal says more.
    const error = signal.aborted && isLoopatError(thrown, 'cancelled') ? signal.reason : thrown
    if (!isBrokenPipe(error)) context.output.error(error)
    return exitCodeOf(error, commandPath(argv))
  } finally {
    context.output.progress.clear()
  }
}

/** The first signal cancels what is under way, so that nothing half-made stays behind; the second ends the program. */
function interruptible(signals: Signals, host: Host): AbortSignal {
  const controller = new AbortController()
  signals.take((signal) => {
    if (controller.signal.aborted) host.exit(signalExitCode(signal))
    controller.abort(new InterruptedError(signal))
  })
  return controller.signal
}

function makeContext(host: Host, signals: Signals, signal: AbortSignal): Context {
  const output = new Output(host.stdout, host.stderr, host.env)
  const onStart = () => output.note('loopctl: starting the daemon')
  const connect: Context['connect'] = ({ start = true } = {}) => host.connect({ start, onStart, signal })
  return {
    env: host.env,
    cwd: host.cwd,
    // Opening it costs time, and most commands read nothing.
    get stdin() {
      return host.stdin
    },
    stdout: host.stdout,
    stderr: host.stderr,
    patient: host.patient,
    onSuspend: (before, after) => host.onSuspend(before, after),
    setRawMode: (raw) => host.setRawMode(raw),
    now: () => host.now(),
    exit: (code) => host.exit(code),
    atExit: (listener) => host.atExit(listener),
    workspace: () => host.workspace(),
    output,
    signals,
    signal,
    exitCode: 0,
    connect,
    withClient: async (use, options) => {
      const client = await connect(options)
      try {
        return await use(client)
      } finally {
        await client.close()
      }
    },
  }
}

/** What shells and scripts call when they start loads nothing else, not even the parser of arguments. */
async function dispatch(argv: readonly string[], context: Context): Promise<void> {
  if (argv.length === 2 && argv[0] === 'completion') {
    const { completionScript, SHELLS } = await import('./completion.ts')
    const shell = SHELLS.find((known) => known === argv[1])
    if (shell !== undefined) {
      context.output.text(completionScript(shell))
      return
    }
  }
  if (argv.length === 1 && (argv[0] === 'version' || argv[0] === '--version' || argv[0] === '-V')) {
    const { version } = await import('./command/version.ts')
    version({}, context)
    return
  }
  const { runProgram } = await import('./program.ts')
  await runProgram(argv, context)
}
