import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CHANNEL, encodeFrame, FrameDecoder } from '@loopatd/protocol/frame'
import type { HostCommand, HostRun, HostRunEnd } from '../../daemon/host/host-run.ts'
import { RunnerPool, type RunnerPoolOptions } from '../../daemon/host/runner-pool.ts'
import { systemClock } from '../../daemon/lib/clock.ts'

/** The built program: what is started beside a daemon. */
const MAIN = new URL('../../daemon/dist/host-runner-main.js', import.meta.url)

/** What a test wants of a command. */
export interface CallOptions extends Partial<Omit<HostCommand, 'argv' | 'path'>> {
  readonly argv0?: string
  /** Bytes that reach the daemon with the first frame. */
  readonly head?: Buffer
}

/** A runner pool, and a socket by which callers come to it as from a loop. */
export class HostBed {
  readonly pool: RunnerPool
  readonly directory: string
  /** Runs in the order of the calls. */
  readonly runs: HostRun[] = []
  readonly #server: Server
  readonly #waiting: { readonly command: HostCommand; readonly head: Buffer }[] = []

  private constructor(directory: string, options: Partial<RunnerPoolOptions>) {
    this.directory = directory
    this.pool = new RunnerPool({ main: MAIN, env: {}, clock: systemClock, ...options })
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      const next = this.#waiting.shift()
      if (next === undefined) throw new Error('nobody was expected')
      this.runs.push(this.pool.run(socket, next.head, next.command))
    })
  }

  static async make(options: Partial<RunnerPoolOptions> = {}): Promise<HostBed> {
    const bed = new HostBed(await mkdtemp(join(tmpdir(), 'host-bed-')), options)
    bed.#server.listen(join(bed.directory, 'host.sock'))
    await once(bed.#server, 'listening')
    return bed
  }

  /** Runs a program. @param words arguments behind its name */
  async call(path: string, words: readonly (string | Buffer)[], options: CallOptions = {}): Promise<HostCaller> {
    const { argv0 = path, head = Buffer.alloc(0), ...rest } = options
    const argv = [argv0, ...words].map((word) => Buffer.from(word as string))
    const command: HostCommand = {
      path,
      argv,
      directory: { from: this.directory, names: [] },
      env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
      size: undefined,
      maxMs: 60_000,
      maxOutputBytes: 1e12,
      ...rest,
    }
    this.#waiting.push({ command, head })
    const socket = connect(join(this.directory, 'host.sock'))
    await once(socket, 'connect')
    return new HostCaller(socket)
  }

  /** Runs a shell script and takes all of it. */
  async sh(script: string, options: CallOptions = {}): Promise<HostCaller> {
    return await this.call('/bin/sh', ['-c', script], options)
  }

  /** How the newest run ended. */
  async lastEnd(): Promise<HostRunEnd | undefined> {
    return await this.runs.at(-1)?.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]()
    this.#server.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** Speaks as the forwarder of a loop does. */
export class HostCaller {
  readonly socket: Socket
  /** Exit code, or undefined when the connection ended without one. */
  readonly exit: Promise<number | undefined>
  readonly #decoder = new FrameDecoder()
  readonly #outputs = new Map<number, Buffer[]>()
  readonly #messages: Record<string, unknown>[] = []
  readonly #ended = new Set<number>()
  #bytes = 0
  #unacknowledged = 0
  #wake: () => void = () => undefined
  /** Called with each piece of output, which is then not kept. */
  onOutput: ((piece: Buffer) => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      for (const { channel, payload } of this.#decoder.push(chunk)) this.#take(channel, payload)
      this.#wake()
    })
    this.exit = once(socket, 'close').then(() => {
      this.#wake()
      const last = this.#messages.at(-1)
      return last?.type === 'exit' ? Number(last.code) : undefined
    })
  }

  get out(): Buffer {
    return Buffer.concat(this.#outputs.get(CHANNEL.stdout) ?? [])
  }

  get err(): string {
    return Buffer.concat(this.#outputs.get(CHANNEL.stderr) ?? []).toString()
  }

  /** Bytes of both outputs. */
  get bytes(): number {
    return this.#bytes
  }

  get messages(): readonly Record<string, unknown>[] {
    return this.#messages
  }

  /** Sends input, as fast as the window has room. */
  async write(input: Buffer): Promise<void> {
    for (let rest = input; rest.length > 0; ) {
      while (this.#unacknowledged > 900_000 && !this.socket.destroyed) await this.#news()
      if (this.socket.destroyed) return
      const piece = rest.subarray(0, 65_536)
      this.#unacknowledged += piece.length
      this.socket.write(encodeFrame(CHANNEL.stdin, piece))
      rest = rest.subarray(piece.length)
    }
  }

  /** Ends the input. */
  eof(): this {
    this.socket.write(encodeFrame(CHANNEL.stdin, Buffer.alloc(0)))
    return this
  }

  control(message: object): void {
    this.socket.write(encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify(message))))
  }

  /** Waits until stdout has something. @throws Error with all output when it never comes */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = performance.now() + 10_000
    for (;;) {
      const match = pattern.exec(this.out.toString('latin1'))
      if (match !== null) return match
      if (performance.now() > deadline || this.socket.destroyed) {
        throw new Error(`${pattern} never came; this did: ${JSON.stringify(this.out.toString())} ${this.err}`)
      }
      await this.#news()
    }
  }

  /** Everything, with the input at its end. */
  async all(): Promise<{ out: string; err: string; code: number | undefined }> {
    this.eof()
    const code = await this.exit
    return { out: this.out.toString(), err: this.err, code }
  }

  #take(channel: number, payload: Buffer): void {
    if (channel === CHANNEL.control) {
      const message = JSON.parse(payload.toString()) as Record<string, unknown>
      this.#messages.push(message)
      if (message.type === 'ack') this.#unacknowledged -= Number(message.bytes)
    } else if (payload.length === 0) this.#ended.add(channel)
    else {
      if (this.#ended.has(channel)) throw new Error('output behind its end')
      this.#bytes += payload.length
      if (this.onOutput === undefined) {
        const kept = this.#outputs.get(channel) ?? []
        this.#outputs.set(channel, kept)
        kept.push(payload)
      } else this.onOutput(payload)
    }
  }

  async #news(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      setTimeout(resolve, 100)
    })
  }
}
