import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from '../lib/error-code.ts'
import { openFifo } from '../lib/fifo.ts'
import type { Logger } from '../log.ts'
import { AgentRoom, type AgentRun, isRoomName, makeRoom, removeRoom, SLOT_COUNT } from './agent-room.ts'
import type { AgentSpec } from './agent-text.ts'

/** Rooms of one loop. */
const MAX_ROOMS = 8
/** So many that wait at once are a reason for another room, up to so many rooms. */
const CROWD = 8
const CROWD_ROOMS = 2
/** Milliseconds without any turn of a slot after which another room is asked for. */
const GROW_MS = 30
/** The same, after which those who wait are left to the engine. */
const PATIENCE_MS = 300
/** For so many milliseconds the first command waits for an agent that is on its way, and looks for it each so often. */
const EXPECTED_MS = 100
const EXPECTED_LOOK_MS = 4
/** For so many milliseconds an agent is looked for that is told to come before any command does. */
const COMING_MS = 1_000
/** Milliseconds after which a room that nobody uses is removed, and its shells with it. */
const IDLE_MS = 60_000
/** Rooms full of nonsense after which the loop is left to the engine until its next start. */
const MAX_STRIKES = 3

/** Where an agent is. */
export interface LoopAgentOptions {
  /** Control directory on the host. */
  readonly control: string
  /** The same inside. */
  readonly inside: string
  readonly log: Logger
}

interface Waiting {
  readonly spec: AgentSpec
  readonly answer: (run: AgentRun | undefined) => void
}

interface Room {
  readonly room: AgentRoom
  usedAt: number
}

/** The agent of one loop: its rooms, and who waits for a slot in one. */
export class LoopAgent {
  readonly #options: LoopAgentOptions
  readonly #rooms = new Map<string, Room>()
  readonly #waiting: Waiting[] = []
  #adopted: Promise<void> | undefined
  #greeting: Promise<void> | undefined
  #lastTurn = 0
  #expectedUntil: number | undefined
  /** Rooms that were given up because of nonsense. */
  #strikes = 0
  #look: NodeJS.Timeout | undefined
  #sweep: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(options: LoopAgentOptions) {
    this.#options = options
  }

  /**
   * Hands a command over, in the order of the calls.
   * @returns undefined when no agent takes it, and none will
   * @throws the reason of the signal, or the file system's error
   */
  async run(spec: AgentSpec, signal: AbortSignal): Promise<AgentRun | undefined> {
    signal.throwIfAborted()
    this.#adopted ??= this.#adopt()
    await this.#adopted
    const run = this.#waiting.length === 0 ? this.#tryRooms(spec) : undefined
    if (run !== undefined) return run
    this.#expectedUntil ??= performance.now() + EXPECTED_MS
    if (this.#isAlone() && !(await this.#meet(this.#expectedUntil, signal))) return undefined
    return await this.#wait(spec, signal)
  }

  /** Has an agent that was started just now get ready for a command that is to come, in the background. */
  expect(): void {
    const getReady = async () => {
      this.#adopted ??= this.#adopt()
      await this.#adopted
      await this.#meet(performance.now() + COMING_MS)
    }
    this.#inBackground('get its agent ready', getReady())
  }

  /** Lets go of it; commands that run are lost out of sight. */
  close(): void {
    this.#isClosed = true
    for (const { room } of this.#rooms.values()) room.close()
    this.#rooms.clear()
    clearTimeout(this.#look)
    clearInterval(this.#sweep)
    for (const { answer } of this.#waiting.splice(0)) answer(undefined)
  }

  #isAlone(): boolean {
    return ![...this.#rooms.values()].some(({ room }) => !room.isClosed)
  }

  #tryRooms(spec: AgentSpec): AgentRun | undefined {
    for (const place of this.#rooms.values()) {
      const run = place.room.tryRun(spec)
      if (run === undefined) continue
      place.usedAt = performance.now()
      return run
    }
    return undefined
  }

  #wait(spec: AgentSpec, signal: AbortSignal): Promise<AgentRun | undefined> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        const index = this.#waiting.indexOf(waiting)
        if (index >= 0) this.#waiting.splice(index, 1)
        reject(signal.reason)
      }
      const waiting: Waiting = {
        spec,
        answer: (run) => {
          signal.removeEventListener('abort', leave)
          resolve(run)
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      if (this.#waiting.length === 0) this.#lastTurn = performance.now()
      this.#waiting.push(waiting)
      this.#serve()
      // Who comes with so many at once will do so again: this time they wait, the next time they need not.
      if (this.#waiting.length === CROWD && this.#rooms.size < CROWD_ROOMS) this.#greetInBackground()
    })
  }

  /** Gives slots to those who wait, as far as there are any. */
  #serve(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const run = this.#tryRooms(first.spec)
      if (run === undefined) break
      this.#waiting.shift()
      first.answer(run)
    }
    if (this.#waiting.length > 0) this.#look ??= setTimeout(() => this.#lookAgain(), GROW_MS)
  }

  #turned(): void {
    this.#lastTurn = performance.now()
    this.#serve()
  }

  /** Nothing may have moved for a while: all slots may be taken by commands that last. */
  #lookAgain(): void {
    this.#look = undefined
    const quiet = performance.now() - this.#lastTurn
    if (this.#waiting.length === 0 || this.#isClosed) return
    if (quiet >= PATIENCE_MS) {
      for (const { answer } of this.#waiting.splice(0)) answer(undefined)
      return
    }
    if (quiet >= GROW_MS) this.#greetInBackground()
    this.#serve()
  }

  /** Takes over what a daemon before this one has left. */
  async #adopt(): Promise<void> {
    const rooms = join(this.#options.control, 'room')
    for (const name of await namesIn(rooms)) {
      if (isRoomName(name)) this.#enter(name, true)
      else this.#inBackground('remove pipes of its agent', removeRoom(join(rooms, name)))
    }
  }

  #greetInBackground(): void {
    this.#inBackground('make pipes for its agent', this.#greet())
  }

  /** What goes wrong is seen by those who wait, too: nothing turns. */
  #inBackground(what: string, work: Promise<unknown>): void {
    work.catch((err: unknown) => {
      if (errorCode(err) === undefined) throw err
      this.#options.log.warn({ control: this.#options.control, err }, `a loop: cannot ${what}`)
    })
  }

  /** As {@link #greet}; one that was started with its loop just now may still be on its way. */
  async #meet(deadline: number, signal?: AbortSignal): Promise<boolean> {
    while (this.#isAlone() && !(await this.#greet())) {
      if (performance.now() > deadline || this.#isClosed) return false
      await sleep(EXPECTED_LOOK_MS)
      signal?.throwIfAborted()
    }
    return true
  }

  /** Gives the agent, when it waits for one, another room. @returns whether it got one */
  async #greet(): Promise<boolean> {
    const before = this.#rooms.size
    this.#greeting ??= this.#makeRoom().finally(() => {
      this.#greeting = undefined
    })
    await this.#greeting
    return this.#rooms.size > before || !this.#isAlone()
  }

  async #makeRoom(): Promise<void> {
    await this.#leave()
    const isWorthIt = this.#strikes < MAX_STRIKES && this.#rooms.size < MAX_ROOMS
    const fd = isWorthIt ? openFifo(join(this.#options.control, 'answer'), 'write') : undefined
    if (fd === undefined) return
    const answer = new Socket({ fd, readable: false, writable: true })
    answer.on('error', () => undefined)
    try {
      const name = randomBytes(8).toString('hex')
      const directory = join(this.#options.control, 'room', name)
      if (!(await makeRoom(directory, () => !this.#isClosed))) return
      this.#enter(name, false)
      answer.write(`${name} ${SLOT_COUNT}\n`)
    } catch (err) {
      if (errorCode(err) === undefined) throw err
      this.#options.log.warn({ control: this.#options.control, err }, 'a loop: cannot make pipes for its agent')
    } finally {
      answer.end()
    }
  }

  #enter(name: string, isOld: boolean): void {
    const directory = join(this.#options.control, 'room', name)
    const inside = join(this.#options.inside, 'room', name)
    const room = new AgentRoom(
      { directory, inside, onTurn: () => this.#turned(), isWanted: () => this.#waiting.length > 0 },
      isOld,
    )
    this.#rooms.set(name, { room, usedAt: performance.now() })
    this.#sweep ??= setInterval(
      () => this.#inBackground('remove pipes of its agent', this.#leave()),
      IDLE_MS / 2,
    ).unref()
  }

  /** Removes rooms that are closed, and such as nobody has used for a while. */
  async #leave(): Promise<void> {
    const now = performance.now()
    for (const [name, { room, usedAt }] of this.#rooms) {
      if (room.isBusy || (!room.isClosed && now - usedAt < IDLE_MS)) continue
      if (room.isClosed) this.#strikes += 1
      this.#rooms.delete(name)
      await room.remove()
    }
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}
