import type { HostLogEntry } from '@loopatd/protocol'
import type { LeaseRegister } from '../idle/lease.ts'
import type { Clock } from '../lib/clock.ts'
import type { Mark } from '../lib/marked-process.ts'
import type { ApprovalDesk } from './approval-desk.ts'
import { bytesOf } from './argv-pattern.ts'
import type { CommandLookup, HostProgram } from './command-lookup.ts'
import { decide, type Grant, patternOf } from './grant.ts'
import type { GrantBook } from './grant-book.ts'
import { checkName, type HostCaller, notGranted } from './host-caller.ts'
import type { HostLog } from './host-log.ts'
import type { HostLoops } from './host-loops.ts'
import { buildEnvironment, type HostDirectory, mapDirectory } from './host-place.ts'
import { CODE, HostRefusal, ruleOf } from './host-refusal.ts'
import { type HostRequest, notice } from './host-request.ts'
import type { HostCommand, HostRunner } from './host-run.ts'
import { logged, type Mask, told } from './logged-text.ts'
import type { SessionPlace, SessionSlots } from './session-slots.ts'
import { shown, shownCommand } from './shown-text.ts'

/** Longest command that anybody is asked about, in bytes: nobody reads more than that. */
const MAX_ASKED_BYTES = 16_384

/** The loop that calls. */
export interface CallingLoop {
  readonly id: string
  /** Workdir on the host, and inside. */
  readonly workdir: string
  readonly inside: string
  readonly slots: SessionSlots
}

/** What a session needs of the room. */
export interface SessionContext {
  readonly book: Pick<GrantBook, 'of'>
  readonly loops: Pick<HostLoops, 'named'>
  readonly lookup: Pick<CommandLookup, 'check' | 'path'>
  readonly desk: Pick<ApprovalDesk, 'isFull' | 'request'>
  readonly audit: Pick<HostLog, 'append'>
  readonly runner: Pick<HostRunner, 'run'>
  readonly leases: Pick<LeaseRegister, 'acquire'>
  readonly clock: Clock
  /** Hides secrets in arguments. */
  readonly mask: Mask
  /** Environment of the daemon. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Home of the workspace. */
  readonly home: string
  readonly maxMs: number
  readonly maxOutputBytes: number
}

/** By which the processes of a session are found, however their parents ended. */
export function markOfSession(loop: string, session: string): Mark {
  return { LOOPAT_HOST: `${loop}:${session}` }
}

/** The same for everything that a loop started, and for everything that any loop of a workspace did. */
export function markOfLoop(loop: string): Mark {
  return { LOOPAT_HOST_LOOP: loop }
}

export function markOfWorkspace(home: string): Mark {
  return { LOOPAT_HOST_HOME: home }
}

/** A command from its request to its end. */
export class CallerSession {
  readonly loop: CallingLoop
  readonly #context: SessionContext
  readonly #caller: HostCaller
  #request: HostRequest | undefined
  #directory: HostDirectory | undefined
  #grant: Grant | undefined
  #isOutdated = false
  #name = ''
  #end: () => void

  constructor(context: SessionContext, loop: CallingLoop, caller: HostCaller) {
    this.#context = context
    this.loop = loop
    this.#caller = caller
    this.#end = () => caller.end()
  }

  /** The grant by which it runs, or may run. */
  get grant(): Grant | undefined {
    return this.#grant
  }

  /** What it runs, or wants to; undefined until it has said so. */
  get argv(): readonly Buffer[] | undefined {
    return this.#request?.argv
  }

  /** The grants have changed: what was read of them before does not count, if it has not been decided by yet. */
  reconsider(): void {
    this.#isOutdated = true
  }

  /** Ends it, whatever it does. Idempotent. */
  end(): void {
    this.#end()
  }

  /** Runs the command, or tells why it does not. Never rejects but for a defect. */
  async serve(): Promise<void> {
    try {
      const request = await this.#caller.request()
      this.#request = request
      checkName(request)
      const grant = await this.#decide(request)
      if (grant.record.decision === 'ask') await this.#ask(request, grant)
      const place = await this.#place()
      try {
        await this.#run(request, grant, await this.#program(grant))
      } finally {
        place.release()
      }
    } catch (error) {
      if (!(error instanceof HostRefusal)) throw error
      this.#caller.refuse(this.#note(error))
    }
  }

  /** @throws HostRefusal when nothing allows it, or something denies it */
  async #decide({ argv, cwd }: HostRequest): Promise<Grant> {
    const { clock } = this.#context
    const { inside, workdir } = this.loop
    this.#directory = mapDirectory(cwd, inside, workdir)
    let counting: { readonly name: string; readonly grants: readonly Grant[] }
    do {
      this.#isOutdated = false
      counting = await this.#counting()
    } while (this.#isOutdated)
    const { name, grants } = counting
    this.#name = name
    const grant = decide(grants, argv.map(bytesOf), clock.now())
    if (grant === undefined) throw notGranted(argv, name)
    this.#grant = grant
    if (grant.record.decision === 'deny') {
      throw new HostRefusal(`this loop must not run on the host: ${told(argv)}`, {
        code: CODE.denied,
        rule: this.#rule(grant),
      })
    }
    if (this.#directory === undefined) {
      throw new HostRefusal(`the directory ${shown(cwd)} cannot be found on the host`, { code: CODE.denied })
    }
    return grant
  }

  /**
   * What counts for the loop by the name that it has now: a grant of the configuration must not follow one that was renamed.
   * @throws HostRefusal when there is no such loop any more
   */
  async #counting(): Promise<{ readonly name: string; readonly grants: readonly Grant[] }> {
    const { book, loops } = this.#context
    const loop = await loops.named(this.loop.id)
    if (loop === undefined) throw new HostRefusal('this loop cannot be found any more', { code: CODE.unavailable })
    return { name: loop.name, grants: await book.of(loop) }
  }

  /** @throws HostRefusal unless it is approved */
  async #ask(request: HostRequest, grant: Grant): Promise<void> {
    const { desk } = this.#context
    const { id } = this.loop
    if (desk.isFull(id)) {
      throw new HostRefusal('too many commands of this loop wait for an approval', { code: CODE.denied })
    }
    if (request.argv.reduce((bytes, word) => bytes + word.length + 1, 0) > MAX_ASKED_BYTES) {
      throw new HostRefusal(`a command of more than ${MAX_ASKED_BYTES} bytes is too long to be approved`, {
        code: CODE.denied,
      })
    }
    this.#log({ event: 'ask', rule: this.#rule(grant) })
    const { argv } = request
    const outcome = await desk.request(
      {
        loop: id,
        loopName: this.#name,
        argv: argv.map(shown),
        command: shownCommand(argv),
        program: grant.record.program ?? '',
        cwd: this.#shownDirectory() ?? '',
        grant: patternOf(grant),
        fullAccess: grant.record.fullAccess,
        words: argv,
        asks: grant,
      },
      ({ id: approval }) => this.#caller.tell(notice(`waiting for an approval: loopctl host approve ${approval}`)),
      this.#caller.gone,
    )
    if (outcome === 'approved') return
    const why = { denied: 'it was denied', expired: 'nobody approved it in time', gone: 'its caller went away' }[
      outcome
    ]
    throw new HostRefusal(`${told(argv)} does not run: ${why}`, {
      code: CODE.denied,
      rule: `${why}; ${this.#rule(grant)}`,
    })
  }

  /** @throws HostRefusal */
  async #place(): Promise<SessionPlace> {
    const place = await this.loop.slots.take(this.#caller.gone)
    if (place !== undefined) return place
    const why = this.#caller.gone.aborted ? 'its caller went away, or its grant' : 'too many commands of this loop wait'
    throw new HostRefusal(`the command does not run: ${why}`, { code: CODE.unavailable })
  }

  /** @throws HostRefusal when it is not what was granted any more */
  async #program({ record: { path, program } }: Grant): Promise<HostProgram> {
    if (path === undefined || program === undefined) {
      throw new HostRefusal('its grant names no program', { code: CODE.missing })
    }
    const found = { path, program }
    const fault = await this.#context.lookup.check(found)
    if (fault === undefined) return found
    throw new HostRefusal(`${fault}; its user can grant it anew: loopctl host grant`, { code: CODE.missing })
  }

  async #run(request: HostRequest, grant: Grant, { path }: HostProgram): Promise<void> {
    const { runner, leases, lookup, mask, env, home, maxMs, maxOutputBytes, clock } = this.#context
    const { session } = this.#caller
    const { id } = this.loop
    const directory = this.#directory
    // Since it was decided, the grant may have been taken back, or the caller may have gone.
    if (this.#caller.gone.aborted || directory === undefined) {
      throw new HostRefusal('the command does not run: its caller went away, or its grant', { code: CODE.denied })
    }
    const command: HostCommand = {
      path,
      argv: request.argv,
      directory,
      env: buildEnvironment({
        daemon: env,
        path: lookup.path,
        caller: request.env,
        env: grant.record.env,
        passEnv: grant.record.passEnv,
        mark: { ...markOfSession(id, session), ...markOfLoop(id), ...markOfWorkspace(home) },
      }),
      size: request.size,
      maxMs,
      maxOutputBytes,
    }
    this.#logOrRefuse(grant)
    const began = clock.monotonicMs()
    using _lease = leases.acquire(id, {
      owner: 'host',
      reason: logged(request.argv, mask).join(' '),
      end: () => this.end(),
    })
    const { socket, head } = this.#caller.handOver()
    const run = runner.run(socket, head, command)
    this.#end = () => run.end()
    const { code, reason, bytesIn, bytesOut } = await run.ended
    const durationMs = Math.round(clock.monotonicMs() - began)
    this.#log({ event: 'end', rule: this.#rule(grant), code, reason, durationMs, bytesIn, bytesOut })
  }

  /** What is not on record does not run. @throws HostRefusal */
  #logOrRefuse(grant: Grant): void {
    try {
      this.#log({ event: 'start', rule: this.#rule(grant) })
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new HostRefusal(`the command does not run, because it cannot be logged: ${why}`, { code: CODE.unavailable })
    }
  }

  /** Puts a refusal on record. */
  #note(error: HostRefusal): HostRefusal {
    this.#log({ event: 'deny', rule: error.rule, code: error.code })
    return error
  }

  #rule(grant: Grant): string {
    return ruleOf(grant, this.#context.mask)
  }

  #shownDirectory(): string | null {
    if (this.#directory === undefined) return null
    const { from, names } = this.#directory
    return shown(Buffer.from([from, ...names].join('/')))
  }

  #log(entry: Pick<HostLogEntry, 'event' | 'rule'> & Partial<HostLogEntry>): void {
    const { audit, clock, mask } = this.#context
    audit.append({
      time: clock.now().toISOString(),
      session: this.#caller.session,
      loop: this.loop.id,
      argv: logged(this.#request?.argv ?? [], mask),
      cwd: this.#shownDirectory(),
      code: null,
      reason: null,
      durationMs: null,
      bytesIn: null,
      bytesOut: null,
      count: null,
      ...entry,
    })
  }
}
