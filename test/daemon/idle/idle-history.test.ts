import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { Random } from '../../harness/random.ts'
import { never, until, WORKSPACE, Workshop } from '../loop/kit.ts'
import { ManualClock } from './manual-clock.ts'

const SECOND = 1000
const STEPS = 400
const client = { id: 'c', onEnd: () => undefined }

/** What the rule says of one loop. */
interface ModelLoop {
  readonly id: string
  isRunning: boolean
  readonly uses: Disposable[]
  holds: number
  since: number
  window: number | 'never'
}

/** A daemon on a fake engine whose clock a test moves, and beside it what should be. */
class History {
  readonly #clock: ManualClock
  readonly #random: Random
  readonly #loops: ModelLoop[] = []
  readonly #first: Workshop
  #shop: Workshop
  /** Loops that the rule has put to sleep. */
  sleeps = 0

  private constructor(random: Random, shop: Workshop, clock: ManualClock) {
    this.#random = random
    this.#first = shop
    this.#shop = shop
    this.#clock = clock
  }

  static async begin(random: Random): Promise<History> {
    const clock = new ManualClock()
    const history = new History(random, await Workshop.open({ clock }), clock)
    for (let index = 0; index < 4; index += 1) {
      const { id } = await history.#shop.create({ start: false })
      await history.#shop.idle.set({ loop: id, after: 60 * SECOND }, never)
      history.#loops.push({ id, isRunning: false, uses: [], holds: 0, since: 0, window: 60 * SECOND })
    }
    return history
  }

  /** Does something, lets time pass, and compares. */
  async step(): Promise<void> {
    const loop = this.#random.pick(this.#loops)
    const actions = [
      () => this.#use(loop),
      () => this.#use(loop),
      () => this.#leave(loop),
      () => this.#leave(loop),
      () => this.#start(loop),
      () => this.#stop(loop),
      () => this.#die(loop),
      () => this.#hold(loop),
      () => this.#release(loop),
      () => this.#release(loop),
      () => this.#set(loop),
      () => this.#restart(),
      () => this.#clock.jump((this.#random.below(3) - 1) * 86_400_000),
    ]
    await this.#random.pick(actions)()
    await this.#pass(this.#random.pick([0, 1, 20, 40, 59, 60, 61]) * SECOND)
    await this.#compare()
  }

  async end(): Promise<void> {
    for (const { uses } of this.#loops) for (const use of uses) use[Symbol.dispose]()
    await this.#shop[Symbol.asyncDispose]()
    // The first one owns the engine and the home.
    await this.#first[Symbol.asyncDispose]()
  }

  async #pass(ms: number): Promise<void> {
    this.#clock.advance(ms)
    for (const loop of this.#loops) if (this.#isDue(loop)) this.#sleep(loop)
    for (let turns = 0; turns < 20; turns += 1) await turn()
  }

  #isDue({ isRunning, uses, holds, since, window }: ModelLoop): boolean {
    if (!isRunning || uses.length + holds > 0 || window === 'never') return false
    return this.#clock.monotonicMs() >= since + window
  }

  #sleep(loop: ModelLoop): void {
    loop.isRunning = false
    this.sleeps += 1
  }

  async #compare(): Promise<void> {
    const expected = this.#loops.map(({ id, isRunning, uses, holds }) => [id, isRunning, uses.length + holds])
    const found = async () => {
      const shown = new Map((await this.#shop.list()).map(({ id, state }) => [id, state === 'running']))
      return this.#loops.map(({ id }) => [id, shown.get(id), this.#shop.leases.count(id)])
    }
    const text = JSON.stringify(expected)
    await until(async () => JSON.stringify(await found()) === text).catch(() => undefined)
    expect(await found()).toEqual(expected)
  }

  #used(loop: ModelLoop): void {
    loop.since = this.#clock.monotonicMs()
  }

  #woken(loop: ModelLoop): void {
    if (!loop.isRunning) this.#used(loop)
    loop.isRunning = true
  }

  async #use(loop: ModelLoop): Promise<void> {
    const request = { start: true, owner: 'exec', reason: 'x' }
    loop.uses.push(await this.#shop.service.use(loop.id, request, noProgress, never))
    this.#woken(loop)
    this.#used(loop)
  }

  #leave(loop: ModelLoop): void {
    if (loop.uses.length === 0) return
    for (const use of loop.uses.splice(this.#random.below(2))) use[Symbol.dispose]()
    this.#used(loop)
  }

  async #start(loop: ModelLoop): Promise<void> {
    await this.#shop.start(loop.id)
    this.#woken(loop)
  }

  async #stop(loop: ModelLoop): Promise<void> {
    if (loop.uses.length > 0) return
    await this.#shop.stop(loop.id)
    loop.isRunning = false
  }

  async #die(loop: ModelLoop): Promise<void> {
    if (!loop.isRunning) return
    await this.#shop.engine.container.die(`loopat-${WORKSPACE}-${loop.id}`, 1)
    loop.isRunning = false
  }

  async #hold(loop: ModelLoop): Promise<void> {
    await this.#shop.idle.hold({ loop: loop.id, forMs: 20 * 86_400_000, reason: 'x' }, never)
    loop.holds += 1
    this.#used(loop)
  }

  async #release(loop: ModelLoop): Promise<void> {
    if (loop.holds === 0) return
    await this.#shop.idle.release({ loop: loop.id }, client, never)
    loop.holds = 0
    this.#used(loop)
  }

  async #set(loop: ModelLoop): Promise<void> {
    loop.window = this.#random.pick([30 * SECOND, 30 * SECOND, 60 * SECOND, 'never'])
    await this.#shop.idle.set({ loop: loop.id, after: loop.window }, never)
  }

  /** The daemon ends as it should; the next one goes on. */
  async #restart(): Promise<void> {
    if (this.#loops.some(({ uses }) => uses.length > 0)) return
    await this.#shop.leave()
    const { engine, home } = this.#shop
    this.#shop = await Workshop.open({ clock: this.#clock, engine, home })
    const isKnown = async () => {
      const { loops } = await this.#shop.idle.list({}, never)
      return this.#loops.every(({ id, isRunning }) => {
        const next = loops.find((one) => one.id === id)?.next.action
        return (next !== 'asleep') === isRunning
      })
    }
    await until(isKnown)
  }
}

describe('any history on a fake engine', () => {
  it('should have a loop sleep exactly when it has been without a lease for its window', async () => {
    const history = await History.begin(Random.fromEnvironment('IDLE_HISTORY_SEED'))
    try {
      // Some histories keep everything awake for long.
      for (let step = 0; step < STEPS || history.sleeps < 6; step += 1) await history.step()
    } finally {
      await history.end()
    }
  })
})
