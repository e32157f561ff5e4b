import { EventEmitter } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import type { Host, Input } from '../../../client/cli/context.ts'
import { run } from '../../../client/cli/run.ts'
import { connect } from '../../../client/index.ts'
import { LoopatError } from '../../../protocol/error.ts'

/** A standard stream that keeps what is written. */
export class Capture extends Writable {
  readonly isTTY: boolean
  readonly columns = 80
  readonly rows = 24
  bytes = Buffer.alloc(0)

  constructor(isTTY = false) {
    super()
    this.isTTY = isTTY
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.bytes = Buffer.concat([this.bytes, chunk])
    this.emit('written')
    done()
  }

  get text(): string {
    return this.bytes.toString()
  }
}

/** What a test says about the system that loopctl runs in. */
export interface HostOptions {
  /** Socket of a stub; without one no daemon can be reached. */
  readonly socket?: string
  readonly env?: Readonly<Record<string, string>>
  readonly home?: string
  /** Text on stdin, then its end. Without it stdin stays open. */
  readonly input?: string | Buffer
  /** Which streams are terminals. */
  readonly tty?: { readonly stdin?: boolean; readonly stdout?: boolean; readonly stderr?: boolean }
}

/** A system to run loopctl in. */
export class TestHost implements Host {
  readonly env: Readonly<Record<string, string>>
  readonly cwd = '/here'
  readonly stdin: Input & PassThrough
  readonly stdout: Capture
  readonly stderr: Capture
  readonly patient: Host['patient']
  readonly signals = new EventEmitter()
  /** What is to be done when the program is stopped and continued. */
  readonly suspensions = new Set<{ readonly before: () => Promise<void>; readonly after: () => void }>()
  /** Modes that the terminal was put into: raw or not. */
  readonly modes: boolean[] = []
  readonly exits: number[] = []
  readonly exitListeners = new Set<() => void>()
  /** Milliseconds since the epoch. */
  time = Date.parse('2026-01-02T03:04:05Z')
  readonly #options: HostOptions

  constructor(options: HostOptions = {}) {
    this.#options = options
    this.env = options.env ?? {}
    this.stdin = Object.assign(new PassThrough(), {
      isTTY: options.tty?.stdin === true,
    })
    if (options.input !== undefined) this.stdin.end(options.input)
    this.stdout = new Capture(options.tty?.stdout)
    this.stderr = new Capture(options.tty?.stderr)
    this.patient = this
  }

  now = () => this.time
  setRawMode = (raw: boolean) => void this.modes.push(raw)
  onSuspend = (before: () => Promise<void>, after: () => void) => {
    const suspension = { before, after }
    this.suspensions.add(suspension)
    return () => void this.suspensions.delete(suspension)
  }
  exit = (code: number) => void this.exits.push(code)
  atExit = (listener: () => void) => {
    this.exitListeners.add(listener)
    return () => void this.exitListeners.delete(listener)
  }
  workspace = async () => ({
    name: 'test',
    home: this.#options.home ?? '/nowhere',
    runtimeDir: '/nowhere',
    socket: this.#options.socket ?? '/nowhere/loopatd.sock',
  })
  connect: Host['connect'] = async ({ start, onStart, signal }) => {
    const { socket } = this.#options
    if (socket !== undefined) return await connect({ socket }, signal)
    if (start) onStart()
    throw new LoopatError('daemon_unreachable', 'no daemon answers', { next: 'Start it.' })
  }

  /** Runs loopctl. */
  async run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const code = await run(argv, this)
    return { code, stdout: this.stdout.text, stderr: this.stderr.text }
  }

  /** Stops this program by Ctrl-Z. @returns what continues it */
  async suspend(): Promise<() => void> {
    const all = [...this.suspensions]
    await Promise.all(all.map(({ before }) => before()))
    return () => {
      for (const { after } of all) after()
    }
  }

  /** Sends this program a signal. */
  signal(name: 'SIGHUP' | 'SIGINT' | 'SIGTERM'): void {
    this.signals.emit(name, name)
  }
}
