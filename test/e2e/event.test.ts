import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type EventSubscription, type LoopatClient, LoopatError, type LoopatEvent } from '@loopatd/client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EventGap } from '../../protocol/event.ts'
import { Random } from '../harness/random.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** How often the connection is lost, or the daemon, in the test of random moments. */
const LOSSES = 8

const numberOf = (cursor: string) => Number(cursor.split(':')[1])
const epochOf = (cursor: string) => cursor.split(':')[0] ?? ''

/** Who subscribes, loses its connection, and comes back with the last cursor it saw. */
class Subscriber {
  readonly events: LoopatEvent[] = []
  readonly gaps: EventGap[] = []
  cursor: string | undefined
  #client: LoopatClient | undefined
  #reading: Promise<void> = Promise.resolve()

  async connect({ socket }: TestWorkspace): Promise<void> {
    this.#client = await connect({ socket })
    const subscription = await this.#client.event.subscribe(this.cursor === undefined ? {} : { since: this.cursor })
    if (subscription.gap !== null) this.gaps.push(subscription.gap)
    this.cursor ??= subscription.cursor
    this.#reading = this.#read(subscription)
  }

  /** Loses the connection, if the daemon did not already end it. */
  async leave(): Promise<void> {
    await this.#client?.close()
    await this.#reading
  }

  async #read(subscription: EventSubscription): Promise<void> {
    try {
      for await (const event of subscription) {
        this.events.push(event)
        this.cursor = event.cursor
      }
    } catch (error) {
      if (!(error instanceof LoopatError)) throw error
    }
  }

  /** The numbers that were seen of each run of the daemon. */
  runs(): Map<string, number[]> {
    const runs = new Map<string, number[]>()
    for (const { cursor } of this.events) {
      const epoch = epochOf(cursor)
      runs.set(epoch, [...(runs.get(epoch) ?? []), numberOf(cursor)])
    }
    return runs
  }
}

describe('a subscriber that comes back', () => {
  let workspace: TestWorkspace

  beforeEach(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', 'one', '--no-start')
  })
  afterEach(() => workspace[Symbol.asyncDispose]())

  /** `loopctl events --json`, until so many lines have come. */
  async function lines(count: number, ...options: string[]): Promise<Record<string, unknown>[]> {
    const child = workspace.spawn(['events', '--json', ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
    const found: Record<string, unknown>[] = []
    if (child.stdout === null) throw new Error('no output')
    for await (const line of createInterface(child.stdout)) {
      found.push(JSON.parse(line))
      if (found.length >= count) break
    }
    child.kill()
    return found
  }

  const kinds = (found: readonly Record<string, unknown>[]) => found.map(({ kind }) => kind)
  const rename = async (count: number, from: string) => {
    let name = from
    for (let index = 0; index < count; index += 1) {
      const next = `${from}-${index}`
      await workspace.ok('rename', name, next)
      name = next
    }
    return name
  }

  it('should see each event that it missed, once and in order', async () => {
    const subscriber = new Subscriber()
    await subscriber.connect(workspace)
    const begin = subscriber.cursor ?? ''
    let name = await rename(2, 'one')
    await eventually('it saw them', async () => subscriber.events.length >= 2)
    await subscriber.leave()
    name = await rename(3, name)
    await subscriber.connect(workspace)
    await rename(1, name)
    await eventually('it saw all', async () => subscriber.events.length >= 6)
    await subscriber.leave()
    expect(subscriber.gaps).toEqual([])
    const first = numberOf(begin)
    expect([...subscriber.runs().values()]).toEqual([[1, 2, 3, 4, 5, 6].map((number) => first + number)])
    const names = (event: LoopatEvent) => (event.kind === 'loop/changed' ? event.loop.name : '')
    expect(subscriber.events.map(names)).toEqual(['one-0', 'one-1', 'one-1-0', 'one-1-1', 'one-1-2', 'one-1-2-0'])
    const shown = await lines(4, '--since', subscriber.events[1]?.cursor ?? '')
    expect(shown.map(({ cursor }) => cursor)).toEqual(subscriber.events.slice(2).map(({ cursor }) => cursor))
    expect((await lines(1, '--since', `${first + 5}`)).map(({ cursor }) => cursor)).toEqual([subscriber.cursor])
  })

  it('should be told of the gap when the daemon was restarted, and see all that came since', async () => {
    const subscriber = new Subscriber()
    await subscriber.connect(workspace)
    await rename(1, 'one')
    await eventually('it saw that', async () => subscriber.events.length === 1)
    const seen = subscriber.cursor ?? ''
    await workspace.ok('daemon', 'restart')
    await subscriber.leave()
    await rename(2, 'one-0')
    await subscriber.connect(workspace)
    const gap = { missed: null, reason: 'daemon-restarted' }
    expect(subscriber.gaps).toEqual([gap])
    const changes = () => subscriber.events.filter(({ kind }) => kind === 'loop/changed')
    await eventually('it saw the new ones', async () => changes().length >= 3)
    await subscriber.leave()
    const [, numbers = []] = [...subscriber.runs().values()]
    expect(numbers).toEqual(numbers.map((_number, index) => index + 1))
    const shown = await lines(3, '--since', seen)
    expect(shown[0]).toEqual({ kind: 'gap', ...gap })
    expect(numberOf(String(shown[1]?.cursor))).toBe(1)
    expect(kinds(await lines(1, '--since', `${epochOf(subscriber.cursor ?? '')}:999999`))).toEqual(['gap'])
  })

  /** Loses the connection, or kills the daemon, at any moment, and comes back. @returns whether it was the daemon */
  async function lose(subscriber: Subscriber, random: Random): Promise<boolean> {
    await sleep(random.below(300))
    const isRestart = random.below(3) === 0
    if (isRestart) process.kill(await workspace.daemonPid(), 'SIGKILL')
    await subscriber.leave()
    await workspace.ok(random.pick(['start', 'stop']), 'one')
    await subscriber.connect(workspace)
    return isRestart
  }

  it('should have seen every event or be told of the gap, whatever is lost and whenever', async () => {
    const random = Random.fromEnvironment('EVENT_SEED')
    const subscriber = new Subscriber()
    await subscriber.connect(workspace)
    let restarts = 0
    const busy = endless(workspace, ['rpc', 'loop/update', '{"loop":"one","env":{"A":"1"}}'])
    for (let loss = 0; loss < LOSSES; loss += 1) {
      const epoch = epochOf(subscriber.cursor ?? '')
      if (!(await lose(subscriber, random))) continue
      restarts += 1
      await eventually('it saw the new daemon', async () => epochOf(subscriber.cursor ?? '') !== epoch)
    }
    await busy.end()
    await using client = await connect({ socket: workspace.socket })
    const { cursor } = await client.event.subscribe()
    // There may be more of them meanwhile.
    await eventually('it saw the last', async () => {
      const seen = subscriber.cursor ?? ''
      return epochOf(seen) === epochOf(cursor) && numberOf(seen) >= numberOf(cursor)
    })
    await subscriber.leave()
    for (const numbers of subscriber.runs().values()) {
      expect(numbers).toEqual(numbers.map((_number, index) => (numbers[0] ?? 0) + index))
    }
    const [, ...later] = [...subscriber.runs().values()]
    expect(later.map(([first]) => first)).toEqual(later.map(() => 1))
    expect(subscriber.gaps).toEqual(Array(restarts).fill({ missed: null, reason: 'daemon-restarted' }))
    const last = subscriber.events.findLast(({ kind }) => kind === 'loop/changed')
    const [loop] = await workspace.json<{ state: string }[]>('ls')
    expect(last).toMatchObject({ loop: { state: loop?.state } })
  })
})

/** Runs a command of loopctl again and again; failures do not matter. */
function endless({ program, env }: TestWorkspace, words: readonly string[]): { end(): Promise<void> } {
  let isOver = false
  let child: ChildProcess | undefined
  const run = async () => {
    while (!isOver) {
      child = spawn(program, words, { env, stdio: 'ignore' })
      await once(child, 'exit')
    }
  }
  const running = run()
  const end = async () => {
    isOver = true
    child?.kill()
    await running
  }
  return { end }
}
