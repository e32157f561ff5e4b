import type { Readable, Writable } from 'node:stream'
import type { ExecControl, ResultOf } from '@loopatd/protocol'
import type { RequestOptions } from '../rpc.ts'
import type { RawStream } from '../stream.ts'
import type { Call, RequestParams } from './call.ts'

/** Params of a command whose output is collected: `command` or `shell`, and where and how it runs. */
export type ExecRunParams = Omit<RequestParams<'exec/run'>, 'stream' | 'tty'>
/** Params of a command whose stdin and output are streams. */
export type ExecSpawnParams = Omit<RequestParams<'exec/run'>, 'stream' | 'stdin' | 'encoding'>
/** Signals that can be sent to a command. */
export type ExecSignal = Extract<ExecControl, { type: 'signal' }>['signal']

/** How a command ended. */
export interface ExecEnd {
  /** Code of the command; 128 + n when signal n ended it; 137 whenever `timeoutMs` did. */
  readonly exitCode: number
  /** Whether the command was ended because `timeoutMs` was over. */
  readonly timedOut: boolean
  readonly durationMs: number
  /** Bytes left out of the output because of `maxOutputBytes`, both streams together. */
  readonly droppedBytes: number
  /** Lines that are missing as a whole, both streams together. */
  readonly linesOmitted: number
}

/** A collected command: how it ended, and its output. */
export interface ExecResult extends ExecEnd {
  readonly stdout: string
  readonly stderr: string
}

/** A running command. */
export interface ExecProcess extends AsyncDisposable {
  readonly stdin: Writable
  /** Ends with the command's output. Must be read, like stderr, or neither flows. */
  readonly stdout: Readable
  readonly stderr: Readable
  /**
   * The command's end. Output may still be unread then. Rejects with a LoopatError when the command could not be run,
   * the request was cancelled or the connection went away; both outputs end then too.
   */
  readonly exit: Promise<ExecEnd>
  /** Changes the size of the terminal. */
  resize(size: { readonly cols: number; readonly rows: number }): void
  /** Sends a signal to the command; KILL is not among them: abort the request for that. */
  kill(signal: ExecSignal): void
}

/** What the feature needs of the connection. */
export interface ExecTransport {
  readonly call: Call
  readonly openStream: (options?: Pick<RequestOptions, 'signal'>) => Promise<RawStream>
}

/** Commands in a loop; see `protocol/exec.ts`. */
export class ExecFeature {
  readonly #transport: ExecTransport

  constructor(transport: ExecTransport) {
    this.#transport = transport
  }

  /** Runs a command and collects its output, up to `maxOutputBytes` per stream. */
  async run(params: ExecRunParams, options?: RequestOptions): Promise<ExecResult> {
    const { stdout, stderr, ...end } = await this.#transport.call('exec/run', params, options)
    return { ...end, stdout: stdout ?? '', stderr: stderr ?? '' }
  }

  /**
   * Runs a command whose stdin, stdout and stderr are streams. Resolves when the streams are connected; the command
   * itself may still be starting.
   * @param options `signal` ends the command: TERM, then KILL
   */
  async spawn(params: ExecSpawnParams, options: RequestOptions = {}): Promise<ExecProcess> {
    const stream = await this.#transport.openStream({ signal: options.signal })
    // Ends with the request, so that losing interest in the process ends the command.
    const abort = new AbortController()
    const signal = options.signal === undefined ? abort.signal : AbortSignal.any([options.signal, abort.signal])
    const request = this.#transport.call('exec/run', { ...params, stream: stream.id }, { ...options, signal })
    return new StreamedProcess(stream, request, abort)
  }
}

class StreamedProcess implements ExecProcess {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  readonly exit: Promise<ExecEnd>
  readonly #stream: RawStream
  readonly #abort: AbortController

  constructor(stream: RawStream, request: Promise<ResultOf<'exec/run'>>, abort: AbortController) {
    this.#stream = stream
    this.#abort = abort
    this.stdin = stream.stdin
    this.stdout = stream.stdout
    this.stderr = stream.stderr
    this.exit = this.#follow(request)
    // A caller that only reads output still must not see an unhandled rejection; whoever awaits `exit` gets it.
    this.exit.catch(() => undefined)
  }

  resize({ cols, rows }: { readonly cols: number; readonly rows: number }): void {
    this.#stream.control({ type: 'resize', cols, rows })
  }

  kill(signal: ExecSignal): void {
    this.#stream.control({ type: 'signal', signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await Promise.allSettled([this.exit])
    await this.#stream.close()
  }

  async #follow(request: Promise<ResultOf<'exec/run'>>): Promise<ExecEnd> {
    try {
      const { stdout: _stdout, stderr: _stderr, ...end } = await request
      return end
    } catch (error) {
      await this.#stream.close()
      throw error
    }
  }
}
