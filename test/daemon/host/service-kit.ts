import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CheckedParamsOf, type HostLogEntry, LoopatError, METHODS, type ParamsOf } from '@loopatd/protocol'
import { CHANNEL, encodeFrame, FrameDecoder } from '@loopatd/protocol/frame'
import type { NamedLoop } from '../../../daemon/host/grant-book.ts'
import type { HostLoops } from '../../../daemon/host/host-loops.ts'
import type { HostCommand, HostRun, HostRunEnd, HostRunner } from '../../../daemon/host/host-run.ts'
import { HostService, type HostServiceOptions, type HostSettings } from '../../../daemon/host/host-service.ts'
import { LeaseRegister } from '../../../daemon/idle/lease.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { type LogLine, memoryLog, never } from '../loop/kit.ts'
import { requestFrame, type Wanted } from './kit.ts'

/** A command that runs, as far as anybody can tell. */
export class FakeRun implements HostRun {
  readonly command: HostCommand
  readonly head: Buffer
  readonly ended: Promise<HostRunEnd>
  readonly #socket: Socket
  readonly #over = deferred<HostRunEnd>()

  constructor(socket: Socket, head: Buffer, command: HostCommand) {
    this.#socket = socket
    this.command = command
    this.head = head
    this.ended = this.#over.promise
    socket.on('close', () => this.finish({ code: 129, reason: 'caller' }))
    socket.resume()
    this.tell({ type: 'started' })
  }

  get words(): string[] {
    return this.command.argv.map(String)
  }

  tell(message: object): void {
    this.#socket.write(encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify(message))))
  }

  finish({ code, reason = null }: { code: number; reason?: HostRunEnd['reason'] }): void {
    this.#over.resolve({ code, reason, bytesIn: 1, bytesOut: 2 })
    this.tell({ type: 'exit', code })
    this.#socket.end()
  }

  end(): void {
    this.finish({ code: 143, reason: 'stopped' })
  }
}

/** Runs nothing. */
export class FakeRunner implements HostRunner {
  readonly runs: FakeRun[] = []

  run(socket: Socket, head: Buffer, command: HostCommand): HostRun {
    const run = new FakeRun(socket, head, command)
    this.runs.push(run)
    return run
  }

  warm(): void {
    // Nothing is cold here.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const run of this.runs) run.end()
  }
}

/** A caller inside a loop. */
export class FakeCaller {
  readonly socket: Socket
  readonly closed: Promise<void>
  text = ''
  started = false
  code: number | undefined

  constructor(path: string) {
    this.socket = createConnection(path)
    const closed = deferred<void>()
    this.closed = closed.promise
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => closed.resolve(undefined))
    const decoder = new FrameDecoder()
    this.socket.on('data', (chunk) => {
      for (const { channel, payload } of decoder.push(chunk)) this.#take(channel, payload)
    })
  }

  send(wanted: Wanted): this {
    this.socket.write(requestFrame(wanted))
    return this
  }

  /** The code it exits with; undefined when the connection ended without one. */
  async exit(): Promise<number | undefined> {
    await this.closed
    return this.code
  }

  #take(channel: number, payload: Buffer): void {
    if (channel === CHANNEL.stderr) this.text += payload.toString()
    if (channel !== CHANNEL.control) return
    const message: { type?: string; code?: number } = JSON.parse(payload.toString())
    if (message.type === 'started') this.started = true
    if (message.type === 'exit') this.code = message.code
  }
}

/** Loops `a` and `b`, whose ids are their names doubled. */
const LOOPS = [
  { id: 'aa', name: 'a' },
  { id: 'bb', name: 'b' },
] as const

/** Host commands, with real sockets and files, but nothing that runs. */
export class HostHouse {
  readonly root: string
  readonly clock = new ManualClock()
  readonly leases = new LeaseRegister(this.clock)
  readonly lines: LogLine[] = []
  readonly told: string[] = []
  readonly arranged = new Map<string, readonly string[]>()
  readonly callers: FakeCaller[] = []
  /** Those that there are. */
  loops: readonly NamedLoop[] = LOOPS
  runner = new FakeRunner()
  service: HostService
  #settings: Partial<HostSettings>

  private constructor(root: string, settings: Partial<HostSettings>) {
    this.root = root
    this.#settings = settings
    this.service = this.#make()
  }

  static async open(settings: Partial<HostSettings> = {}): Promise<HostHouse> {
    const root = await mkdtemp(join(tmpdir(), 'loopat-host-'))
    for (const { id } of LOOPS) {
      await mkdir(join(root, 'home/loops', id, 'work'), { recursive: true })
      await mkdir(join(root, 'run', id), { recursive: true })
    }
    await mkdir(join(root, 'bin'))
    for (const name of ['tool', 'other', 'bash']) await program(join(root, 'bin', name))
    const house = new HostHouse(root, settings)
    await house.service.open()
    return house
  }

  get home(): string {
    return join(this.root, 'home')
  }

  get logPath(): string {
    return join(this.root, 'log/host.log')
  }

  control(id: string): string {
    return join(this.root, 'run', id)
  }

  socket(id = 'aa'): string {
    return join(this.control(id), 'host.sock')
  }

  work(id = 'aa'): string {
    return join(this.home, 'loops', id, 'work')
  }

  /** Starts loops. */
  async up(...ids: string[]): Promise<void> {
    for (const id of ids) {
      await this.service.prepare(id)
      this.service.container(id, true)
    }
  }

  async grant(params: ParamsOf<'host/grant'>) {
    return (await this.service.grant(METHODS['host/grant'].params.parse(params), never)).grant
  }

  async revoke(params: ParamsOf<'host/revoke'>) {
    return (await this.service.revoke(METHODS['host/revoke'].params.parse(params), never)).revoked
  }

  async list(params: ParamsOf<'host/list'> = {}) {
    return await this.service.list(METHODS['host/list'].params.parse(params), never)
  }

  async approve(params: ParamsOf<'host/approve'>) {
    return await this.service.approve(METHODS['host/approve'].params.parse(params))
  }

  async deny(params: ParamsOf<'host/deny'>) {
    return await this.service.deny(METHODS['host/deny'].params.parse(params))
  }

  async pending() {
    return (await this.service.pending({}, never)).approvals
  }

  async log(params: ParamsOf<'host/log'> = {}): Promise<HostLogEntry[]> {
    const checked: CheckedParamsOf<'host/log'> = METHODS['host/log'].params.parse({ limit: 1000, ...params })
    return (await this.service.log(checked, never)).entries
  }

  connect(id = 'aa'): FakeCaller {
    const caller = new FakeCaller(this.socket(id))
    this.callers.push(caller)
    return caller
  }

  call(...argv: (string | Buffer)[]): FakeCaller {
    return this.connect().send({ argv, cwd: '/loopat/work' })
  }

  /** Another daemon, after this one has ended. */
  async restart(settings: Partial<HostSettings> = this.#settings): Promise<void> {
    this.#settings = settings
    await this.service[Symbol.asyncDispose]()
    this.runner = new FakeRunner()
    this.service = this.#make()
    await this.service.open()
  }

  async close(): Promise<void> {
    for (const { socket } of this.callers) socket.destroy()
    await this.service[Symbol.asyncDispose]()
    await rm(this.root, { recursive: true, force: true })
  }

  #make(): HostService {
    const options: HostServiceOptions = {
      home: this.home,
      loopsDirectory: join(this.home, 'loops'),
      logPath: this.logPath,
      loops: this.#loops(),
      leases: this.leases,
      runner: this.runner,
      settings: {
        ...{ path: [join(this.root, 'bin')], approvalMs: 60_000, maxMs: 1000, maxOutputBytes: 1000 },
        ...{ maxSessions: 4, maxPerMinute: 1000, mask: [], grants: [], ...this.#settings },
      },
      env: { HOME: '/home/u', SECRET: 'secret' },
      clock: this.clock,
      log: memoryLog(this.lines),
      onRequested: ({ approval }) => this.told.push(`${approval.loopName} asks`),
      onSettled: ({ approval, outcome }) => this.told.push(`${approval.loopName} ${outcome}`),
      arrange: async (control, names) => void this.arranged.set(control, names),
      declared: async () => ['declared'],
    }
    return new HostService(options)
  }

  #loops(): HostLoops {
    return {
      look: async (ref) => {
        const found = this.loops.find(({ id, name }) => ref === id || ref === name)
        if (found === undefined) throw new LoopatError('loop_not_found', ref)
        return found
      },
      ids: async () => this.loops.map(({ id }) => id),
      named: async (wanted) => this.loops.find(({ id }) => id === wanted),
      writable: async () => [],
      workdirOf: (id) => ({ host: this.work(id), inside: '/loopat/work' }),
      controlOf: (id) => this.control(id),
    }
  }
}

/** Makes a file that can be executed. */
export async function program(path: string): Promise<void> {
  await writeFile(path, '#!/bin/true\n')
  await chmod(path, 0o755)
}
