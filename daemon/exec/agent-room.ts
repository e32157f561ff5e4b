import { closeSync, renameSync, writeSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Deferred, deferred } from '../lib/deferred.ts'
import { errorCode } from '../lib/error-code.ts'
import { makeFifos, openFifo } from '../lib/fifo.ts'
import { openSlot, pokeSlot, SLOT_PIPES, type SlotPipes } from './agent-slot.ts'
import { type AgentStatus, AgentStatusReader } from './agent-status.ts'
import type { AgentSpec } from './agent-text.ts'

/** How many commands run in a room at once. */
export const SLOT_COUNT = 16
/** Milliseconds in which a shell that has told of itself comes to its pipe. */
const ARRIVAL_MS = 100
/** Milliseconds until a slot that children of an earlier command use is looked at again. */
const USED_MS = 1000
/** How much nonsense is borne before a room is given up: anybody inside can write into its status pipe. */
const MAX_NONSENSE = 100
/** Longest time, in milliseconds, for which new shells are put off while commands run. */
const REST_MS = 100

/** A command in a slot. */
export interface AgentRun {
  readonly pipes: SlotPipes
  /** Pid inside when the command begins; undefined when it was not begun and never will be. */
  readonly started: Promise<number | undefined>
  /** Exit code; undefined when it will never be known. */
  readonly ended: Promise<number | undefined>
  /** Where the shell reads the command from, as it names itself. */
  readonly shell: string
  /** Whether somebody still reads the command. */
  isRead(): boolean
  /** Nothing will be heard of it any more. */
  lose(): void
  /** Its output is not read any more: the slot may be used for another. Idempotent. */
  release(): void
}

interface Running {
  readonly turn: string
  readonly started: Deferred<number | undefined>
  readonly ended: Deferred<number | undefined>
}

/** A shell that waits. */
interface Offer {
  readonly slot: number
  readonly side: 0 | 1
  readonly turn: string
}

interface Ready extends Offer {
  /** Not before this time of the monotonic clock. */
  readonly notBefore: number
  readonly since: number
}

/** Where a room is, and who cares. */
export interface RoomOptions {
  /** Directory on the host. */
  readonly directory: string
  /** The same inside. */
  readonly inside: string
  /** Is told when a slot may have become ready, or none will any more. */
  readonly onTurn: () => void
  /** Whether somebody waits for a slot. */
  readonly isWanted: () => boolean
}

/**
 * Makes the pipes of a room. It appears under its name when it is whole: nobody can take one in the making for it.
 * @param isWanted asked at the very end
 * @returns whether it was wanted; if not, nothing is left of it
 * @throws the error of the file system or of the program that makes them; nothing is left
 */
export async function makeRoom(directory: string, isWanted: () => boolean): Promise<boolean> {
  const draft = `${directory}.new`
  const slots = slotsOf(draft)
  let isMade = false
  try {
    for (const slot of slots) await mkdir(slot, { recursive: true, mode: 0o700 })
    const pipes = slots.flatMap((slot) => SLOT_PIPES.map((name) => join(slot, name)))
    await makeFifos([...pipes, join(draft, 'status'), join(draft, 'go')])
    if (isWanted()) {
      renameSync(draft, directory)
      isMade = true
    }
  } finally {
    if (!isMade) await rm(draft, { recursive: true, force: true })
  }
  return isMade
}

/** Removes the pipes of a room and has the shells end that wait at them. Commands that run go on. */
export async function removeRoom(directory: string): Promise<void> {
  // From here on nobody finds the way to a pipe; who is on it, or waits at one, still finds the other end.
  const gone = `${directory}.gone`
  await rename(directory, gone)
  for (const slot of slotsOf(gone)) pokeSlot(slot)
  await rm(gone, { recursive: true, force: true })
}

/** Whether a directory beside rooms is one: others were in the making, or on their way out, when their daemon ended. */
export function isRoomName(name: string): boolean {
  return !name.includes('.')
}

/** The daemon's side of a room: which shells wait, and which run a command. */
export class AgentRoom {
  readonly #options: RoomOptions
  readonly #status: Socket | undefined
  readonly #go: number | undefined
  readonly #reader = new AgentStatusReader()
  readonly #running = new Map<number, Running>()
  /** Slots whose output is still read, with the shell that waits there already. */
  readonly #held = new Map<number, Offer | undefined>()
  #ready: Ready[] = []
  #nonsense = 0
  /** Shells that are not made yet. */
  #owed = 0
  #rest: NodeJS.Timeout | undefined
  #isClosed = false
  #isLeft = false

  /** @param isOld whether a daemon before this one may have left something in it */
  constructor(options: RoomOptions, isOld: boolean) {
    this.#options = options
    const fd = openFifo(join(options.directory, 'status'), 'hold')
    this.#go = openFifo(join(options.directory, 'go'), 'hold')
    if (fd === undefined) {
      this.#isClosed = true
      return
    }
    this.#status = new Socket({ fd, readable: true, writable: false })
    this.#status.on('data', (chunk: Buffer) => this.#read(chunk.toString('latin1')))
    this.#status.on('error', () => this.close())
    if (!isOld) return
    for (const slot of slotsOf(options.directory)) pokeSlot(slot)
    this.#owed = SLOT_COUNT
    this.#makeShells()
  }

  /** Whether commands run in it. */
  get isBusy(): boolean {
    return this.#running.size > 0 || this.#held.size > 0
  }

  /** Whether it is of no more use. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Hands a command to a shell that waits. @returns undefined when none does */
  tryRun(spec: AgentSpec): AgentRun | undefined {
    if (this.#ready.length === 0) return undefined
    const now = performance.now()
    const waiting = this.#ready
    this.#ready = []
    let run: AgentRun | undefined
    for (const ready of waiting) {
      if (run !== undefined || ready.notBefore > now) this.#ready.push(ready)
      else run = this.#open(ready, spec)
    }
    return run
  }

  /** Gives the room up and removes its pipes. Commands that run go on. */
  async remove(): Promise<void> {
    await removeRoom(this.#options.directory)
    this.close()
  }

  /** Gives the room up; what ends in it will not be known. Idempotent. */
  close(): void {
    this.#isClosed = true
    if (this.#isLeft) return
    this.#isLeft = true
    this.#ready = []
    clearTimeout(this.#rest)
    if (this.#go !== undefined) closeSync(this.#go)
    this.#status?.destroy()
    for (const running of this.#running.values()) lose(running)
    this.#running.clear()
    this.#options.onTurn()
  }

  #open(ready: Ready, spec: AgentSpec): AgentRun | undefined {
    const { slot, side, turn } = ready
    const { directory } = this.#options
    const now = performance.now()
    const pipes = openSlot(join(directory, String(slot)), side, spec)
    if (pipes === 'used') this.#ready.push({ ...ready, notBefore: now + USED_MS, since: now + USED_MS })
    if (pipes === 'later' && now - ready.since < ARRIVAL_MS) {
      this.#ready.push({ ...ready, notBefore: now + 1 })
      void sleep(2).then(this.#options.onTurn)
    }
    if (typeof pipes === 'string') return undefined
    return this.#note(pipes, { slot, turn, path: join(String(slot), `command${side}`) })
  }

  #note(pipes: SlotPipes, { slot, turn, path }: { slot: number; turn: string; path: string }): AgentRun {
    const running: Running = { turn, started: deferred(), ended: deferred() }
    this.#running.set(slot, running)
    this.#held.set(slot, undefined)
    const forget = () => {
      lose(running)
      if (this.#running.get(slot) !== running) return
      this.#running.delete(slot)
      this.#renew()
    }
    void pipes.sent.then((isSent) => isSent || forget())
    const { started, ended } = running
    const { directory, inside } = this.#options
    return {
      pipes,
      started: started.promise,
      ended: ended.promise,
      shell: join(inside, path),
      isRead: () => hasReader(join(directory, path)),
      lose: forget,
      release: () => this.#release(slot),
    }
  }

  #read(text: string): void {
    for (const status of this.#reader.read(text)) {
      const isExpected = status !== undefined && status.slot < SLOT_COUNT && this.#take(status)
      if (!isExpected) this.#nonsense += 1
    }
    if (this.#nonsense > MAX_NONSENSE) this.close()
  }

  /** @returns whether it is something that an agent would say now */
  #take(status: AgentStatus): boolean {
    const { slot, turn } = status
    const running = this.#running.get(slot)
    if (status.kind === 'ready') return running === undefined && this.#offer({ slot, turn, side: status.side })
    // The end of what a daemon before this one began, or of a shell that was sent away, is nobody's.
    if (running?.turn !== turn) return running === undefined
    if (status.kind === 'begun') {
      running.started.resolve(status.pid)
    } else {
      this.#running.delete(slot)
      running.started.resolve(undefined)
      running.ended.resolve(status.code)
      this.#owed += 1
      if (this.#running.size === 0 || this.#options.isWanted()) this.#makeShells()
      else this.#rest ??= setTimeout(() => this.#makeShells(), REST_MS)
    }
    return true
  }

  /** Has the shells made that are owed: each takes one line. */
  #makeShells(): void {
    clearTimeout(this.#rest)
    this.#rest = undefined
    if (this.#isLeft || this.#go === undefined) return
    try {
      writeSync(this.#go, '\n'.repeat(this.#owed))
      this.#owed = 0
    } catch (error) {
      // Somebody inside has filled the pipe: there is more in it than anybody needs.
      if (errorCode(error) !== 'EAGAIN') throw error
    }
  }

  /** Where one shell was lost, others may be: those that are there tell of themselves again. */
  #renew(): void {
    this.#ready = []
    const isIdle = (_path: string, slot: number) => !this.#running.has(slot) && !this.#held.has(slot)
    for (const slot of slotsOf(this.#options.directory).filter(isIdle)) pokeSlot(slot)
  }

  #release(slot: number): void {
    if (!this.#held.has(slot)) return
    const offer = this.#held.get(slot)
    this.#held.delete(slot)
    if (offer !== undefined) this.#offer(offer)
  }

  /** @returns whether it is news */
  #offer(offer: Offer): boolean {
    if (this.#isClosed) return true
    if (this.#held.has(offer.slot)) {
      if (this.#held.get(offer.slot)?.turn === offer.turn) return false
      this.#held.set(offer.slot, offer)
      return true
    }
    const known = this.#ready.findIndex(({ slot }) => slot === offer.slot)
    if (known >= 0 && this.#ready[known]?.turn === offer.turn) return false
    if (known >= 0) this.#ready.splice(known, 1)
    const now = performance.now()
    this.#ready.push({ ...offer, notBefore: now, since: now })
    this.#options.onTurn()
    return true
  }
}

function hasReader(path: string): boolean {
  const fd = openFifo(path, 'write')
  if (fd !== undefined) closeSync(fd)
  return fd !== undefined
}

function slotsOf(directory: string): string[] {
  return Array.from({ length: SLOT_COUNT }, (_, slot) => join(directory, String(slot)))
}

function lose({ started, ended }: Running): void {
  started.resolve(undefined)
  ended.resolve(undefined)
}
