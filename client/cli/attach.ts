import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ExecEnd, ExecProcess, ExecSpawnParams, LoopatClient } from '@loopatd/client'
import { EXIT, LoopatError } from '@loopatd/protocol/error'
import type { Context, Input } from './context.ts'
import { InterruptedError, signalExitCode } from './exit.ts'
import { interactive } from './interactive.ts'
import type { Signal } from './signals.ts'
import { announceSuspension } from './suspend.ts'
import { Terminal } from './terminal.ts'

/** A second Ctrl-C within this time ends the command whether it wants to or not, in milliseconds. */
const INSIST_MS = 2_000

/** Characters of a command that tell why its loop was started. */
const MAX_USE = 80

/** What is run, and how it is joined to this program's streams. */
export interface Attachment {
  readonly params: ExecSpawnParams
  /** Whether stdin goes to the command; otherwise it finds the end of its input at once. */
  readonly stdin: boolean
  /** Whether the command gets a terminal. */
  readonly tty: boolean
  /** Where its output goes; default: stdout and stderr of this program. */
  readonly output?: Outputs
}

/** Where output goes. */
export interface Outputs {
  readonly stdout: Writable
  readonly stderr: Writable
}

/**
 * Runs a command in a loop with this program's stdin, stdout, stderr and signals, and sets the exit code.
 * @returns how it ended
 * @throws LoopatError when the command could not be run or was ended by the user's insistence
 */
export async function attach(client: LoopatClient, { params, ...how }: Attachment, context: Context): Promise<ExecEnd> {
  const onProgress = context.output.progress.update.bind(context.output.progress)
  // While the loop starts, an interrupt means this program; once the command runs, it means the command.
  if (params.start !== false) {
    const use = `exec: ${params.command?.join(' ') ?? params.shell ?? ''}`.slice(0, MAX_USE)
    const wanted = { loop: params.loop, use, ...interactive(context) }
    await client.loop.start(wanted, { signal: context.signal, onProgress })
  }
  const terminal = how.tty ? new Terminal(context) : undefined
  const cancel = new AbortController()
  const tty = terminal === undefined ? {} : { tty: terminal.size }
  const command = await client.exec.spawn(
    { ...params, ...tty, ...interactive(context) },
    { signal: AbortSignal.any([context.signal, cancel.signal]), onProgress },
  )
  const stay = announceSuspension(client, terminal, context)
  const end = forwardSignals(command, { cancel, tty: how.tty }, context)
  let clean = false
  try {
    context.output.progress.clear()
    const stopResize = terminal?.onResize((size) => command.resize(size))
    terminal?.enter(command.stdout)
    try {
      const ended = await follow(command, { stdin: how.stdin, output: how.output ?? context.patient, cancel }, context)
      context.exitCode = ended.timedOut ? EXIT.timeout.code : ended.exitCode
      clean = true
      return ended
    } catch (error) {
      throw cancel.signal.aborted ? cancel.signal.reason : error
    } finally {
      stopResize?.()
    }
  } finally {
    end()
    stay()
    terminal?.restore({ clean })
    await command[Symbol.asyncDispose]()
  }
}

/**
 * Sends signals into the loop. The second SIGINT within {@link INSIST_MS} ends the command's process group instead. A
 * shell on a terminal takes no SIGTERM and may be stuck: there, SIGTERM and SIGHUP end it too.
 * @returns stops that
 */
function forwardSignals(
  command: ExecProcess,
  { cancel, tty }: { cancel: AbortController; tty: boolean },
  context: Context,
): () => void {
  let lastInterrupt = Number.NEGATIVE_INFINITY
  return context.signals.take((signal: Signal) => {
    if (cancel.signal.aborted) context.exit(signalExitCode(signal))
    const insists = signal === 'SIGINT' && context.now() - lastInterrupt < INSIST_MS
    if (signal === 'SIGINT') lastInterrupt = context.now()
    if (insists || (tty && signal !== 'SIGINT')) cancel.abort(new InterruptedError(signal))
    else command.kill(signal)
  })
}

/** Passes everything on until the command has ended and its output is written. */
async function follow(
  command: ExecProcess,
  { stdin, output: { stdout, stderr }, cancel }: { stdin: boolean; output: Outputs; cancel: AbortController },
  context: Context,
): Promise<ExecEnd> {
  const output = Promise.all([passOn(command.stdout, stdout), passOn(command.stderr, stderr)])
  const outputFailed = async (cause: unknown): Promise<never> => {
    const local = stdout.errored ?? stderr.errored
    if (local != null) {
      cancel.abort(local)
      throw local
    }
    // Why the command could not be run, when that is the reason, says more than that its output broke off.
    await command.exit
    throw new LoopatError('daemon_unreachable', 'the output of the command broke off', { cause })
  }
  const input = stdin ? feed(context.stdin, command) : endInput(command)
  try {
    const ended = Promise.all([command.exit, output.catch(outputFailed)])
    const [end] = await Promise.race([ended, input.failed])
    return end
  } finally {
    input.release()
  }
}

/** Resolves when everything is written. */
async function passOn(from: Readable, to: Writable): Promise<void> {
  await pipeline(from, to, { end: false })
  await new Promise((resolve) => to.write('', resolve))
}

interface Feeding {
  /** Rejects when the input cannot be read; otherwise pending for ever. */
  readonly failed: Promise<never>
  release(): void
}

/**
 * Passes input on for as long as the command takes it: one that ends, or closes its stdin, is no failure, and what it
 * did not take stays unread.
 */
function feed(input: Input, { stdin }: ExecProcess): Feeding {
  let onError: (error: Error) => void = () => undefined
  const failed = new Promise<never>((_resolve, reject) => {
    onError = reject
  })
  const stop = () => {
    input.unpipe(stdin)
    input.pause()
  }
  input.once('error', onError)
  stdin.once('error', stop)
  stdin.once('close', stop)
  input.pipe(stdin)
  return {
    failed,
    release: () => {
      input.off('error', onError)
      stop()
    },
  }
}

function endInput({ stdin }: ExecProcess): Feeding {
  stdin.once('error', () => undefined)
  stdin.end()
  return { failed: new Promise<never>(() => undefined), release: () => undefined }
}
