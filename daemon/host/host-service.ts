import { createHash } from 'node:crypto'
import {
  type CheckedParamsOf,
  type HostDecision,
  isLoopatError,
  LoopatError,
  type NotificationParamsOf,
  type ResultOf,
} from '@loopatd/protocol'
import type { LeaseRegister } from '../idle/lease.ts'
import type { Clock } from '../lib/clock.ts'
import { endMarked } from '../lib/marked-process.ts'
import type { Logger } from '../log.ts'
import { ApprovalDesk, type WaitingCommand } from './approval-desk.ts'
import { maskWith, USUAL_MASKS } from './argv-mask.ts'
import { exactPattern, parsePattern } from './argv-pattern.ts'
import { markOfWorkspace, type SessionContext } from './caller-session.ts'
import { CommandLookup, nameOf } from './command-lookup.ts'
import { isFullAccess } from './full-access.ts'
import { type Grant, type GrantRecord, grantInfo, patternOf, toGrant } from './grant.ts'
import { type ConfigGrant, GrantBook, type GrantScope } from './grant-book.ts'
import { HostGates, type HostGatesOptions } from './host-gates.ts'
import { HostLog } from './host-log.ts'
import type { HostLoops } from './host-loops.ts'
import { isCommandName } from './host-request.ts'
import type { HostRunner } from './host-run.ts'

/** What the configuration says of host commands. */
export interface HostSettings {
  /** Directories that programs are looked up in. */
  readonly path: readonly string[]
  readonly approvalMs: number
  readonly maxMs: number
  readonly maxOutputBytes: number
  readonly maxSessions: number
  readonly maxPerMinute: number
  readonly mask: readonly string[]
  readonly grants: readonly HostGrantSetting[]
}

/** A grant as the configuration has it. */
export interface HostGrantSetting {
  readonly pattern: string
  readonly decision: HostDecision
  readonly fullAccess: boolean
  readonly loop: string | undefined
  readonly env: Readonly<Record<string, string>>
  readonly passEnv: readonly string[]
}

type Told<N extends 'host/approvalRequested' | 'host/approvalSettled'> = Omit<
  NotificationParamsOf<N>,
  'subscription' | 'cursor'
>

/** What the service is made of. */
export interface HostServiceOptions extends Pick<HostGatesOptions, 'arrange' | 'declared'> {
  readonly home: string
  /** Directory of all loops. */
  readonly loopsDirectory: string
  /** Path of the log of host commands. */
  readonly logPath: string
  readonly loops: HostLoops
  readonly leases: Pick<LeaseRegister, 'acquire'>
  readonly runner: HostRunner
  readonly settings: HostSettings
  /** Environment of the daemon. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly log: Logger
  /** Must not throw. */
  readonly onRequested: (told: Told<'host/approvalRequested'>) => void
  readonly onSettled: (told: Told<'host/approvalSettled'>) => void
}

/** Host commands: what loops may run on the host, and who lets them. See `protocol/host.ts`. */
export class HostService implements AsyncDisposable {
  readonly #options: HostServiceOptions
  readonly #book: GrantBook
  readonly #desk: ApprovalDesk
  readonly #audit: HostLog
  readonly #lookup: CommandLookup
  readonly #gates: HostGates

  constructor(options: HostServiceOptions) {
    const { home, loopsDirectory, loops, settings, clock, log, runner } = options
    this.#options = options
    this.#book = new GrantBook({ home, loops: loopsDirectory, clock, onExpired: () => this.#gates.refreshSoon() })
    this.#desk = new ApprovalDesk({
      clock,
      waitMs: settings.approvalMs,
      onRequested: (approval) => options.onRequested({ approval }),
      onSettled: (approval, outcome) => options.onSettled({ approval, outcome }),
    })
    this.#audit = new HostLog(options.logPath)
    this.#lookup = new CommandLookup({
      path: settings.path,
      // All of the workspace: homes, workdirs and vaults of loops are in it.
      writable: async () => [home, ...(await loops.writable())],
    })
    const context: SessionContext = {
      book: this.#book,
      loops,
      lookup: this.#lookup,
      desk: this.#desk,
      audit: this.#audit,
      runner,
      leases: options.leases,
      clock,
      mask: maskWith([...USUAL_MASKS, ...settings.mask]),
      env: options.env,
      home,
      maxMs: settings.maxMs,
      maxOutputBytes: settings.maxOutputBytes,
    }
    const { arrange, declared } = options
    this.#gates = new HostGates({ context, book: this.#book, loops, limits: settings, runner, arrange, declared, log })
  }

  /** Ends what a daemon that was killed left running, and reads the grants of the configuration. Call it first. */
  async open(): Promise<void> {
    const { home, log, settings } = this.#options
    const left = await endMarked(markOfWorkspace(home))
    if (left > 0) log.info({ count: left }, 'ended commands on the host that a daemon before this one had started')
    this.#book.configure(await Promise.all(settings.grants.map((setting) => this.#configured(setting))))
  }

  /** A loop is about to start. @throws the file system's error, LoopatError `storage_failed` */
  async prepare(id: string): Promise<void> {
    await this.#gates.prepare(id)
  }

  /** A container of a loop began or ceased to run. */
  container(id: string, isRunning: boolean): void {
    this.#gates.container(id, isRunning)
  }

  /** A loop is no more. */
  removed(id: string): void {
    this.#book.forget(id)
  }

  /** @see `host/approve` of the contract, as for all that follow */
  async approve({ approval, always }: CheckedParamsOf<'host/approve'>): Promise<ResultOf<'host/approve'>> {
    return await this.#answer(approval, 'approved', always ? 'allow' : undefined)
  }

  async deny({ approval, always }: CheckedParamsOf<'host/deny'>): Promise<ResultOf<'host/deny'>> {
    return await this.#answer(approval, 'denied', always ? 'deny' : undefined)
  }

  async grant(params: CheckedParamsOf<'host/grant'>, signal: AbortSignal): Promise<ResultOf<'host/grant'>> {
    const { pattern, decision, forMs, env = {}, passEnv = [], fullAccess } = params
    const scope = await this.#scope(params.loop, signal)
    const program = await this.#program({ pattern, decision, fullAccess })
    const expires =
      forMs === undefined ? {} : { expiresAt: new Date(this.#options.clock.now().getTime() + forMs).toISOString() }
    const grant = await this.#book.add(scope, { pattern, decision, ...program, env, passEnv, ...expires })
    await this.#gates.refreshAll()
    return { grant: grantInfo(grant) }
  }

  async list(params: CheckedParamsOf<'host/list'>, signal: AbortSignal): Promise<ResultOf<'host/list'>> {
    const { loops, declared } = this.#options
    const loop = params.loop === undefined ? undefined : await loops.look(params.loop, signal)
    const grants = loop === undefined ? await this.#book.all(await loops.ids()) : await this.#book.of(loop)
    const checked = await Promise.all(grants.map((grant) => this.#checked(grant)))
    return {
      grants: checked.map(grantInfo),
      declared: loop === undefined ? [] : [...(await declared(loops.workdirOf(loop.id).host))],
      faults: this.#book.faults(),
    }
  }

  /** What of the grants does not count, and why; for the doctor. */
  async faults(): Promise<{ readonly what: string; readonly why: string }[]> {
    const grants = await this.#book.all(await this.#options.loops.ids())
    const faulty = (await Promise.all(grants.map((grant) => this.#checked(grant)))).flatMap(({ fault, ...grant }) =>
      fault === undefined ? [] : [{ what: `grant ${grant.record.id}, ${patternOf(grant)}`, why: fault }],
    )
    return [...this.#book.faults().map(({ file, message }) => ({ what: file, why: message })), ...faulty]
  }

  async log(params: CheckedParamsOf<'host/log'>, signal: AbortSignal): Promise<ResultOf<'host/log'>> {
    const { limit, waitMs } = params
    const loop = params.loop === undefined ? undefined : (await this.#options.loops.look(params.loop, signal)).id
    const after = params.after === undefined ? undefined : numberOf(params.after)
    const read = () => this.#audit.read({ after, limit, loop })
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(waitMs)])
    let found = read()
    while (after !== undefined && waitMs > 0 && found.entries.length === 0 && !deadline.aborted) {
      await this.#audit.more(deadline)
      found = read()
    }
    signal.throwIfAborted()
    return { entries: found.entries, next: String(found.next) }
  }

  async pending(params: CheckedParamsOf<'host/pending'>, signal: AbortSignal): Promise<ResultOf<'host/pending'>> {
    const loop = params.loop === undefined ? undefined : (await this.#options.loops.look(params.loop, signal)).id
    return { approvals: this.#desk.list(loop) }
  }

  async revoke(params: CheckedParamsOf<'host/revoke'>, signal: AbortSignal): Promise<ResultOf<'host/revoke'>> {
    const revoked = await this.#book.remove(await this.#scope(params.loop, signal), params.grant)
    await this.#gates.refreshAll()
    return { revoked: revoked.map(grantInfo) }
  }

  /** Ends every command, and everything that they have left. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { home, runner } = this.#options
    this.#book[Symbol.dispose]()
    await this.#gates.close()
    await runner[Symbol.asyncDispose]()
    await endMarked(markOfWorkspace(home))
  }

  async #answer(
    id: string,
    outcome: 'approved' | 'denied',
    always: HostDecision | undefined,
  ): Promise<ResultOf<'host/approve'>> {
    try {
      const { approval, result: grant } = await this.#desk.answer(id, outcome, async (waiting) =>
        always === undefined ? undefined : await this.#book.add(waiting.approval.loop, draftOf(waiting, always)),
      )
      return { approval, grant: grant === undefined ? null : grantInfo(grant) }
    } finally {
      // A grant that was added counts, even when the command does not wait any more.
      if (always !== undefined) await this.#gates.refreshAll()
    }
  }

  async #scope(ref: string | undefined, signal: AbortSignal): Promise<GrantScope> {
    return ref === undefined ? null : (await this.#options.loops.look(ref, signal)).id
  }

  /**
   * What runs by a grant.
   * @throws LoopatError `invalid_params`, `host_command_not_found`, `host_path_unsafe`, `full_access_needed`
   */
  async #program({
    pattern,
    decision,
    fullAccess,
  }: Pick<HostGrantSetting, 'pattern' | 'decision' | 'fullAccess'>): Promise<
    Pick<GrantRecord, 'path' | 'program' | 'fullAccess'>
  > {
    const { command } = parsePattern(pattern)
    if (!isCommandName(Buffer.from(nameOf(command)))) {
      throw new LoopatError('invalid_params', `"${nameOf(command)}" is no name that a command can be called by`, {
        next: 'Names begin with a letter or digit and have letters, digits, ".", "_", "+" and "-".',
      })
    }
    if (decision === 'deny') return { fullAccess: false }
    const found = await this.#lookup.find(command)
    const isFull = isFullAccess(found.path, found.program)
    if (isFull && !fullAccess) {
      throw new LoopatError(
        'full_access_needed',
        `"${command}" (${found.program}) can run anything on the host, so whoever may call it has full access to the host`,
        { next: 'If that is what you want, add --full-access.', details: { command, program: found.program } },
      )
    }
    return { ...found, fullAccess: isFull }
  }

  /** A grant of the configuration; one that is wrong denies what it matches, and is shown with its fault. */
  async #configured(setting: HostGrantSetting): Promise<ConfigGrant> {
    const { pattern, decision, loop, env, passEnv } = setting
    const id = createHash('sha256').update(JSON.stringify(setting)).digest('hex').slice(0, 8)
    const record = {
      id,
      pattern,
      env: { ...env },
      passEnv: [...passEnv],
      createdAt: this.#options.clock.now().toISOString(),
    }
    const origin = { origin: 'config', loop: loop ?? null } as const
    try {
      return { grant: toGrant({ ...record, decision, ...(await this.#program(setting)) }, origin), loop }
    } catch (error) {
      if (!isLoopatError(error)) throw error
      this.#options.log.warn({ pattern, err: error }, 'a grant of the configuration lets nothing run')
      const denied = toGrant({ ...record, decision: 'deny', fullAccess: false }, origin)
      return { grant: { ...denied, fault: error.message }, loop }
    }
  }

  async #checked(grant: Grant): Promise<Grant> {
    const { path, program } = grant.record
    if (path === undefined || program === undefined) return grant
    const fault = await this.#lookup.check({ path, program })
    return fault === undefined ? grant : { ...grant, fault }
  }
}

/** A grant of exactly what waits. */
function draftOf({ words, asks }: WaitingCommand, decision: HostDecision): Omit<GrantRecord, 'id' | 'createdAt'> {
  const pattern = exactPattern(words)
  const { record } = asks
  const what = pattern === undefined ? { argv: words.map((word) => word.toString('base64')) } : { pattern }
  const program =
    decision === 'deny' || record.path === undefined || record.program === undefined
      ? { fullAccess: false }
      : { path: record.path, program: record.program, fullAccess: record.fullAccess }
  return { ...what, ...program, decision, env: record.env, passEnv: record.passEnv }
}

/** @throws LoopatError `invalid_params` */
function numberOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new LoopatError('invalid_params', `after: ${JSON.stringify(text)} is not from an earlier answer`)
}
