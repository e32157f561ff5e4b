import { setImmediate as turn } from 'node:timers/promises'
import type { IdleWindow } from '@loopatd/protocol'
import { retryPause } from '../../../daemon/idle/idle-decision.ts'
import { IdleScheduler, type SleepOutcome } from '../../../daemon/idle/idle-scheduler.ts'
import { type Lease, LeaseRegister } from '../../../daemon/idle/lease.ts'
import type { Random } from '../../harness/random.ts'
import { memoryLog } from '../loop/kit.ts'
import { ManualClock } from './manual-clock.ts'

/** The window of loops that have none of their own. */
const WINDOW = 100

/** A scheduler over loops that are nothing but a flag. */
export class IdleBench {
  readonly clock = new ManualClock()
  readonly leases = new LeaseRegister(this.clock)
  readonly windows = new Map<string, IdleWindow>()
  readonly running = new Set<string>()
  /** Loops that were stopped, with the time. */
  readonly stops: string[] = []
  /** What a stop does before it succeeds; throws to fail. */
  before: (id: string) => Promise<void> | void = () => undefined
  #runs = 0
  readonly scheduler = new IdleScheduler({
    clock: this.clock,
    log: memoryLog([]),
    leases: this.leases,
    windowOf: (id) => this.windowOf(id),
    idleSince: () => this.clock.monotonicMs(),
    onActivity: () => undefined,
    sleep: (id, isStillIdle) => this.#sleep(id, isStillIdle),
  })

  /** One that puts loops to sleep from now on. */
  static begun(): IdleBench {
    const bench = new IdleBench()
    bench.scheduler.begin()
    return bench
  }

  windowOf(id: string): IdleWindow {
    return this.windows.get(id) ?? WINDOW
  }

  start(id: string): void {
    this.#runs += 1
    this.running.add(id)
    this.scheduler.container(id, `run ${this.#runs}`)
  }

  stop(id: string): void {
    this.running.delete(id)
    this.scheduler.container(id, undefined)
  }

  hold(id: string): Lease {
    return this.leases.acquire(id, { owner: 'exec', reason: 'x' })
  }

  /** Lets time pass, and what is due happen. */
  async pass(ms: number): Promise<void> {
    this.clock.advance(ms)
    await turn()
    await turn()
  }

  async #sleep(id: string, isStillIdle: () => boolean): Promise<SleepOutcome> {
    await this.before(id)
    if (!isStillIdle() || !this.running.has(id)) return 'kept'
    this.stops.push(`${id}@${this.clock.monotonicMs()}`)
    this.stop(id)
    return 'stopped'
  }
}

interface ModelLoop {
  running: boolean
  readonly leases: Lease[]
  since: number
  failures: number
  notBefore: number
}

/** The rule itself, beside a bench: what happens to the bench is written down here, and what should come of it. */
export class IdleModel {
  /** Stops that should have happened, with the time. */
  readonly expected: string[] = []
  readonly #bench: IdleBench
  readonly #loops = new Map<string, ModelLoop>()
  /** Loops that cannot be stopped now. */
  readonly #failing = new Set<string>()

  constructor(bench: IdleBench, ids: readonly string[]) {
    this.#bench = bench
    for (const id of ids) this.#loops.set(id, { running: false, leases: [], since: 0, failures: 0, notBefore: 0 })
    bench.before = (id) => {
      if (this.#failing.has(id)) throw new Error('podman is down')
    }
  }

  /** Loops that should run. */
  get running(): string[] {
    return [...this.#loops].flatMap(([id, { running }]) => (running ? [id] : [])).sort()
  }

  /** Does something to a loop, or to the clock. */
  act(random: Random): void {
    const [id, loop] = random.pick([...this.#loops])
    const actions = [
      () => this.#start(id, loop),
      () => this.#stop(id, loop),
      () => this.#hold(id, loop),
      () => this.#release(loop, random),
      () => this.#release(loop, random),
      () => this.#bench.windows.set(id, random.pick([10, 100, 1000, 'never'])),
      () => (random.below(3) === 0 ? this.#failing.add(id) : this.#failing.delete(id)),
      () => this.#bench.clock.jump((random.below(3) - 1) * 3_600_000),
      () => undefined,
    ]
    random.pick(actions)()
    this.#bench.scheduler.rearm(id)
  }

  /** Lets the rule do now what it says. */
  apply(): void {
    for (const [id, loop] of this.#loops) if (this.#isDue(id, loop)) this.#attempt(id, loop)
  }

  #isDue(id: string, { running, leases, since, notBefore }: ModelLoop): boolean {
    const window = this.#bench.windowOf(id)
    if (!running || leases.length > 0 || window === 'never') return false
    return this.#bench.clock.monotonicMs() >= Math.max(since + window, notBefore)
  }

  #attempt(id: string, loop: ModelLoop): void {
    const now = this.#bench.clock.monotonicMs()
    if (this.#failing.has(id)) {
      loop.failures += 1
      loop.notBefore = now + retryPause(loop.failures)
      return
    }
    loop.running = false
    this.expected.push(`${id}@${now}`)
  }

  #start(id: string, loop: ModelLoop): void {
    if (loop.running) return
    this.#bench.start(id)
    loop.running = true
    this.#used(loop)
  }

  #stop(id: string, loop: ModelLoop): void {
    this.#bench.stop(id)
    loop.running = false
  }

  #hold(id: string, loop: ModelLoop): void {
    loop.leases.push(this.#bench.hold(id))
    this.#used(loop)
  }

  #release(loop: ModelLoop, random: Random): void {
    if (loop.leases.length === 0) return
    for (const lease of loop.leases.splice(random.below(loop.leases.length), 1)) lease.release()
    this.#used(loop)
  }

  #used(loop: ModelLoop): void {
    loop.since = this.#bench.clock.monotonicMs()
    loop.failures = 0
    loop.notBefore = 0
  }
}
