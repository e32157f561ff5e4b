import { LoopatError } from '@loopatd/protocol/error'
import type { Context, Host } from './context.ts'
import { exitCodeOf, isBrokenPipe, signalExitCode } from './exit.ts'
import { Output } from './output.ts'
import { type Signal, Signals } from './signals.ts'

/**
 * Runs one command of loopctl.
 * @param argv words after `loopctl`
 * @returns the exit code; never throws: what fails is printed
 */
export async function run(argv: readonly string[], host: Host): Promise<number> {
  using signals = new Signals(host.signals)
  const interrupt = interruptible(signals, host)
  const context = makeContext(host, signals, interrupt.signal)
  try {
    await dispatch(argv, context)
    return context.exitCode
  } catch (error) {
    if (!isBrokenPipe(error)) context.output.error(error)
    const name = argv.find((word) => !word.startsWith('-'))
    return interrupt.exitCode() ?? exitCodeOf(error, name)
  } finally {
    context.output.progress.clear()
  }
}

/** The first signal cancels what is under way, so that nothing half-made stays behind; the second ends the program. */
function interruptible(signals: Signals, host: Host): { signal: AbortSignal; exitCode: () => number | undefined } {
  const controller = new AbortController()
  let received: Signal | undefined
  signals.take((signal) => {
    if (received !== undefined) host.exit(signalExitCode(signal))
    received = signal
    controller.abort(new LoopatError('cancelled', 'interrupted'))
  })
  return {
    signal: controller.signal,
    exitCode: () => (received === undefined ? undefined : signalExitCode(received)),
  }
}

function makeContext(host: Host, signals: Signals, signal: AbortSignal): Context {
  const output = new Output(host.stdout, host.stderr, host.env)
  const { connect, ...rest } = host
  return {
    ...rest,
    output,
    signals,
    signal,
    exitCode: 0,
    withClient: async (use, { start = true } = {}) => {
      const client = await connect({
        start,
        onStart: () => output.note('loopctl: starting the daemon'),
        signal,
      })
      try {
        return await use(client)
      } finally {
        await client.close()
      }
    },
  }
}

/** `version` is what scripts call first and most: it loads nothing else, not even the parser of arguments. */
async function dispatch(argv: readonly string[], context: Context): Promise<void> {
  if (argv.length === 1 && (argv[0] === 'version' || argv[0] === '--version' || argv[0] === '-V')) {
    const { version } = await import('./command/version.ts')
    version({}, context)
    return
  }
  const { runProgram } = await import('./program.ts')
  await runProgram(argv, context)
}
