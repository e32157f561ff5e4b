import { connect, type EventSubscription, type LoopatClient, type LoopatEvent } from '@loopatd/client'
import { eventually, type TestWorkspace } from './workspace.ts'

type LoopChanged = Extract<LoopatEvent, { kind: 'loop/changed' }>

/** How long after the end of a window a busy machine may begin to stop a loop, in milliseconds: late, never early. */
const LATE_MS = 8000

/**
 * Follows the loops of a workspace. When a loop was last used, and when its stop began, is what the daemon says: both are
 * times of one clock, however slow the machine is to tell them.
 */
export class SleepWatch implements AsyncDisposable {
  readonly client: LoopatClient
  readonly #subscription: EventSubscription
  readonly #changes: { readonly at: number; readonly change: LoopChanged }[] = []
  readonly #reading: Promise<void>
  /** Leases of its own, by loop. */
  readonly #kept = new Map<string, string>()

  private constructor(client: LoopatClient, subscription: EventSubscription) {
    this.client = client
    this.#subscription = subscription
    this.#reading = this.#read()
  }

  static async open({ socket }: Pick<TestWorkspace, 'socket'>): Promise<SleepWatch> {
    const client = await connect({ socket })
    return new SleepWatch(client, await client.event.subscribe({ kinds: ['loop/changed'] }))
  }

  /** Keeps a loop awake while a test prepares it, however long that takes. */
  async keep(loop: string): Promise<void> {
    const { lease } = await this.client.idle.acquire({ loop, reason: 'a test prepares it' })
    this.#kept.set(loop, lease.id)
  }

  /** Keeps a loop awake no longer. */
  async letGo(...loops: string[]): Promise<void> {
    for (const loop of loops) {
      const lease = this.#kept.get(loop)
      if (lease === undefined) throw new Error(`${loop} is not kept awake`)
      await this.client.idle.release({ loop, lease })
      this.#kept.delete(loop)
    }
  }

  /** When the loop began to fall asleep for lack of use, each time so far, in milliseconds since the epoch. */
  sleeps(loop: string): number[] {
    const stops = this.#changes.filter(({ change }) => change.loop.name === loop && change.loop.state === 'stopping')
    return stops.flatMap(({ at, change }) => (change.cause?.by === 'idle' ? [at] : []))
  }

  /**
   * Waits until a loop has fallen asleep once more than it had.
   * @returns how long it was without a lease when that began, in milliseconds
   */
  async asleep(loop: string, before = 0): Promise<number> {
    await eventually(`${loop} falls asleep`, async () => this.sleeps(loop).length > before, { ms: 60_000 })
    const at = this.sleeps(loop)[before] ?? Number.NaN
    const { lastActivity } = await this.client.idle.why({ loop })
    return at - Date.parse(lastActivity?.at ?? '')
  }

  /** As {@link asleep}. @throws Error when it was without a lease for less than its window, or far longer */
  async onTime(loop: string, window: number, before = 0): Promise<void> {
    const idle = await this.asleep(loop, before)
    // The wall clock counts whole milliseconds.
    if (idle >= window - 1 && idle < window + LATE_MS) return
    throw new Error(`${loop} fell asleep ${idle} ms after its last use; its window is ${window} ms`)
  }

  /** The names of those who keep a loop awake, but for what {@link keep} does. */
  async owners(loop: string): Promise<string[]> {
    const { leases } = await this.client.idle.why({ loop })
    return leases.filter(({ id }) => id !== this.#kept.get(loop)).map(({ owner }) => owner)
  }

  /** Waits until exactly these keep a loop awake. */
  async held(loop: string, ...owners: string[]): Promise<void> {
    await eventually(`${loop} is held by ${owners.join(' and ') || 'nobody'}`, async () => {
      return JSON.stringify(await this.owners(loop)) === JSON.stringify(owners)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#subscription.close()
    await this.#reading
    await this.client.close()
  }

  async #read(): Promise<void> {
    for await (const event of this.#subscription) {
      if (event.kind === 'loop/changed') this.#changes.push({ at: Date.now(), change: event })
    }
  }
}
