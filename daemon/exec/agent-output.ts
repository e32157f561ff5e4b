import { closeSync, readSync } from 'node:fs'
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate } from 'node:timers/promises'
import { errorCode } from '../lib/error-code.ts'
import { READ_BYTES, type ReadBuffers } from './read-buffers.ts'
import type { ShellWords } from './shell-words.ts'

/** Buffers of one output that may be on their way to its sink. */
const MAX_PENDING = 4
/** Most that a pipe holds, in bytes, unless somebody has raised `pipe-max-size`. */
const PIPE_BYTES = 1_048_576

/** What an output is made of. */
export interface AgentOutputParts {
  /** Reading end of the pipe; owned by the output from now on. */
  readonly fd: number
  readonly buffers: ReadBuffers
  /** Keeps what the shell itself says out of it. */
  readonly words?: ShellWords
}

/**
 * What a command writes into a pipe. It is read only as fast as somebody takes it: as a stream, or by
 * {@link forwardTo}, which uses few buffers again and again. Most commands end before anybody has begun to listen: what
 * they wrote is taken from the pipe then, and nothing is set up for listening.
 */
export class AgentOutput extends Readable {
  /** Resolves when nobody can write any more, or nobody reads. */
  readonly drained: Promise<void>
  readonly #parts: AgentOutputParts
  #onDrained: () => void = () => undefined
  #pipe: Socket | undefined
  #sink: Writable | undefined
  #pending = 0
  #onWanted: (() => void) | undefined
  /** Whether whoever takes it is behind. */
  #isFull = false
  /** Whether the command has ended: nothing but {@link finish} reads any more. */
  #isFinishing = false
  #isOver = false

  constructor(parts: AgentOutputParts) {
    super()
    this.#parts = parts
    this.drained = new Promise((resolve) => {
      this.#onDrained = resolve
    })
  }

  /**
   * Writes all of it to a sink and ends that, in place of being read as a stream.
   * @throws what the sink fails with, or that it was closed
   */
  forwardTo(sink: Writable): Promise<void> {
    const forwarded = new Promise<void>((resolve, reject) => {
      const fail = (error: Error) => {
        reject(error)
        this.destroy()
      }
      sink.once('finish', resolve)
      sink.once('error', fail)
      sink.once('close', () => sink.writableFinished || fail(new Error('what the output goes to was closed')))
      this.once('close', () => sink.writableEnded || reject(new Error('the output broke off')))
    })
    for (let chunk = this.read(); chunk !== null; chunk = this.read()) sink.write(chunk)
    if (this.#isOver) sink.end()
    else this.#sink = sink
    this.#more()
    return forwarded
  }

  /** Reads what comes, from now on. The command must have opened the pipe: before, its end would seem to be there. */
  listen(): void {
    if (this.#isOver || this.destroyed || this.#pipe !== undefined) return
    const { fd, buffers } = this.#parts
    const onread: OnReadOpts = {
      buffer: () => buffers.take(),
      callback: (size, buffer) => this.#isOver || this.#give(buffer, size),
    }
    // The types do not know that the constructor takes it, too.
    const options: SocketConstructorOpts & { onread: OnReadOpts } = { fd, readable: true, writable: false, onread }
    const pipe = new Socket(options)
    this.#pipe = pipe
    pipe.on('error', (error) => this.destroy(error))
    pipe.once('close', () => this.#end())
    if (this.#isFull) pipe.pause()
  }

  override _read(): void {
    if (this.#sink === undefined) this.#more()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#end()
    done(error)
  }

  /** The command has ended: what is in the pipe is still read, what its children write later is not. */
  async finish(): Promise<void> {
    this.#isFinishing = true
    this.#pipe?.pause()
    // More than that was written by its children, which may fill the pipe as fast as it is read.
    for (let left = PIPE_BYTES; !this.#isOver; ) {
      if (this.#isFull) {
        await this.#wanted()
        continue
      }
      const size = this.#readMore()
      left -= size
      // A read that gets less than it has room for has emptied the pipe.
      if (size < READ_BYTES || left <= 0) this.#end()
      // Others get their turn.
      else await setImmediate()
    }
  }

  /** @returns how many bytes there were */
  #readMore(): number {
    // Once it was destroyed, the descriptor is closed, and may be another file's.
    if (this.#pipe?.destroyed === true) return 0
    const { fd, buffers } = this.#parts
    const buffer = buffers.take()
    try {
      const size = readSync(fd, buffer)
      this.#give(buffer, size)
      return size
    } catch (error) {
      buffers.give(buffer)
      if (errorCode(error) === 'EAGAIN') return 0
      throw error
    }
  }

  /** Passes on what is in a buffer, and gives that back. @returns whether more is wanted */
  #give(buffer: Uint8Array, size: number): boolean {
    const { buffers, words } = this.#parts
    const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, size)
    const output = words === undefined ? bytes : words.filter(bytes)
    const sink = this.#sink
    if (output.length > 0 && sink !== undefined && !sink.destroyed) {
      this.#pending += 1
      sink.write(output, () => {
        this.#pending -= 1
        buffers.give(buffer)
        this.#more()
      })
      this.#isFull = this.#pending >= MAX_PENDING
    } else {
      // A stream may keep what it is given for as long as it likes.
      if (output.length > 0 && sink === undefined) this.#isFull = !this.push(Buffer.from(output))
      buffers.give(buffer)
    }
    return !this.#isFull
  }

  #more(): void {
    this.#isFull = false
    this.#onWanted?.()
    if (!this.#isFinishing) this.#pipe?.resume()
  }

  #wanted(): Promise<void> {
    return new Promise((resolve) => {
      const onWanted = () => {
        this.#onWanted = undefined
        this.off('close', onWanted)
        resolve()
      }
      this.#onWanted = onWanted
      this.once('close', onWanted)
    })
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#pipe === undefined) closeSync(this.#parts.fd)
    else this.#pipe.destroy()
    if (!this.destroyed) this.#giveEnd(this.#parts.words?.end())
    this.#onDrained()
  }

  #giveEnd(rest: Buffer | undefined): void {
    const sink = this.#sink
    if (rest !== undefined && rest.length > 0) sink === undefined ? this.push(rest) : sink.write(rest)
    if (sink === undefined) this.push(null)
    else sink.end()
  }
}

/** Writes all of an output to a sink, and ends that. @throws what either fails with */
export async function forward(output: Readable, sink: Writable): Promise<void> {
  if (output instanceof AgentOutput) await output.forwardTo(sink)
  else await pipeline(output, sink)
}
