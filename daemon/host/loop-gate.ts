import type { Socket } from 'node:net'
import { join } from 'node:path'
import { isLoopatError } from '@loopatd/protocol'
import { endMarked } from '../lib/marked-process.ts'
import type { Logger } from '../log.ts'
import { bytesOf } from './argv-pattern.ts'
import { CallerSession, type CallingLoop, markOfLoop, type SessionContext } from './caller-session.ts'
import { decide, type Grant } from './grant.ts'
import { HostCaller } from './host-caller.ts'
import { HostGateway } from './host-gateway.ts'
import { CODE, HostRefusal } from './host-refusal.ts'
import { LimitNote } from './limit-note.ts'
import { type SessionLimits, SessionSlots } from './session-slots.ts'

/** Name of the socket in the control directory of a loop. */
export const SOCKET = 'host.sock'

/** What a gate is made of. */
export interface LoopGateOptions {
  readonly context: SessionContext
  readonly loop: Omit<CallingLoop, 'slots'>
  /** Control directory of the loop on the host. */
  readonly control: string
  readonly limits: SessionLimits
  readonly log: Logger
}

/** The way of one loop to the host: its socket, as long as anything is granted, and who came through it. */
export class LoopGate {
  readonly #options: LoopGateOptions
  readonly #slots: SessionSlots
  readonly #limited: LimitNote
  readonly #sessions = new Map<CallerSession, Promise<void>>()
  #gateway: HostGateway | undefined
  #hadSessions = false

  constructor(options: LoopGateOptions) {
    const { context, limits, loop } = options
    this.#options = options
    this.#slots = new SessionSlots(limits, context.clock)
    this.#limited = new LimitNote(context.clock, (count) => this.#noteLimited(loop.id, count))
  }

  /** Lets the loop in. @throws LoopatError `storage_failed` */
  async open(): Promise<void> {
    this.#gateway ??= await HostGateway.open(join(this.#options.control, SOCKET), {
      onCaller: (socket) => this.#welcome(socket),
      onDropped: () => this.#limited.add(),
    })
  }

  /** Lets nobody in any more; what runs goes on. */
  close(): void {
    this.#gateway?.close()
    this.#gateway = undefined
  }

  /** Ends what the grants, as they are now, do not allow any more. */
  review(grants: readonly Grant[]): void {
    const now = this.#options.context.clock.now()
    for (const session of this.#sessions.keys()) {
      session.reconsider()
      const { grant, argv } = session
      if (grant === undefined || argv === undefined) continue
      const counts = decide(grants, argv.map(bytesOf), now)
      const isKept = grants.some(({ record }) => record.id === grant.record.id)
      if (!isKept || counts === undefined || counts.record.decision === 'deny') session.end()
    }
  }

  /**
   * Ends everything that the loop runs on the host, and what that left behind.
   * @param isPaused whether the socket stays, because the daemon will be back
   */
  async end(isPaused: boolean): Promise<void> {
    if (isPaused) this.#gateway?.pause()
    else this.#gateway?.close()
    this.#gateway = undefined
    for (const session of this.#sessions.keys()) session.end()
    await Promise.all(this.#sessions.values())
    this.#limited.flush()
    if (!this.#hadSessions) return
    this.#hadSessions = false
    await endMarked(markOfLoop(this.#options.loop.id))
  }

  #welcome(socket: Socket): void {
    const caller = new HostCaller(socket)
    if (!this.#slots.admit()) {
      this.#limited.add()
      caller.refuse(new HostRefusal('too many commands in a short time; try again later', { code: CODE.unavailable }))
      return
    }
    const { context, loop } = this.#options
    const session = new CallerSession(context, { ...loop, slots: this.#slots }, caller)
    this.#hadSessions = true
    this.#sessions.set(
      session,
      this.#serve(session, caller).finally(() => this.#sessions.delete(session)),
    )
  }

  async #serve(session: CallerSession, caller: HostCaller): Promise<void> {
    try {
      await session.serve()
    } catch (err) {
      const { log, loop } = this.#options
      log.error({ loop: loop.id, err }, 'a command on the host could not be served')
      const why = isLoopatError(err) ? err.message : 'the daemon failed'
      caller.refuse(new HostRefusal(`the command does not run: ${why}`, { code: CODE.unavailable }))
    }
  }

  #noteLimited(loop: string, count: number): void {
    const { context, log } = this.#options
    try {
      context.audit.append({
        time: context.clock.now().toISOString(),
        event: 'limit',
        session: '',
        loop,
        argv: [],
        cwd: null,
        rule: 'too many commands in a short time',
        code: CODE.unavailable,
        reason: null,
        durationMs: null,
        bytesIn: null,
        bytesOut: null,
        count,
      })
    } catch (err) {
      if (!isLoopatError(err)) throw err
      log.error({ loop, err }, 'refused commands on the host could not be logged')
    }
  }
}
