import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type LoopatClient, LoopatError } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** How many times the daemon is killed. */
const KILLS = Number(process.env.LOOPAT_LONG_IDLE_KILLS ?? 15)
/** The window of loops that sleep, in milliseconds. */
const WINDOW = 1000
/** The daemon is killed within this time of what is done before, in milliseconds. */
const MOMENT_MS = 1500
/** Things that are done to loops in each round, at the same time. */
const ACTIONS = 3
/** Characters of the daemon's log that a failure shows. */
const LOG_TAIL = 6000

/** What a loop should be, as far as it is known. */
interface Expected {
  readonly isArchived: boolean
  readonly holds: number
  readonly window: number | 'never'
}

type Action = 'archive' | 'exec' | 'hold' | 'release' | 'set' | 'start' | 'stop' | 'unarchive'

const ALL: readonly Action[] = [
  'archive',
  'exec',
  'exec',
  'hold',
  'release',
  'set',
  'start',
  'start',
  'stop',
  'unarchive',
]

describe('a daemon that is killed while loops sleep and wake', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  const model = new Map<string, Expected>()
  let workspace: TestWorkspace
  let daemon: ChildProcess
  let client: LoopatClient

  beforeAll(async () => {
    workspace = await makeWorkspace({ config: '[idle]\nafter = "1s"\n' })
    await start()
    for (const name of ['one', 'two', 'three', 'four', 'five', 'six']) {
      await client.loop.create({ name })
      model.set(name, { isArchived: false, holds: 0, window: WINDOW })
    }
  })
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  async function start(): Promise<void> {
    daemon = spawn(workspace.env.LOOPATD ?? '', [], { env: workspace.env, stdio: ['ignore', 'ignore', 'inherit'] })
    await eventually('the daemon serves', async () => {
      try {
        client = await connect({ socket: workspace.socket })
        return true
      } catch (error) {
        if (!(error instanceof LoopatError)) throw error
        return false
      }
    })
  }

  async function kill(): Promise<void> {
    const ended = once(daemon, 'exit')
    daemon.kill('SIGKILL')
    await ended
    await client.close()
  }

  /** What a loop should be after an action was answered. */
  function outcomeOf(action: Action, { isArchived, holds, window }: Expected): Expected {
    switch (action) {
      case 'archive':
        return { isArchived: true, holds: 0, window }
      case 'unarchive':
        return { isArchived: false, holds, window }
      case 'hold':
        return { isArchived, holds: holds + 1, window }
      case 'release':
        return { isArchived, holds: 0, window }
      case 'set':
        return { isArchived, holds, window: window === 'never' ? WINDOW : 'never' }
      default:
        return { isArchived, holds, window }
    }
  }

  function perform(action: Action, loop: string, { window }: Expected): Promise<unknown> {
    switch (action) {
      case 'exec':
        return client.exec.run({ loop, command: ['sleep', '0.3'] })
      case 'hold':
        return client.idle.hold({ loop, forMs: 3_600_000 })
      case 'release':
        return client.idle.release({ loop })
      case 'set':
        return client.idle.set({ loop, after: window === 'never' ? WINDOW : 'never' })
      default:
        return client.loop[action]({ loop })
    }
  }

  /** Does one thing to one loop. @returns what the loop may be then: one, or either when there was no answer */
  async function act(action: Action, loop: string, before: Expected): Promise<readonly Expected[]> {
    try {
      await perform(action, loop, before)
      return [outcomeOf(action, before)]
    } catch (error) {
      if (!(error instanceof LoopatError)) throw error
      return error.code === 'daemon_unreachable' ? [before, outcomeOf(action, before)] : [before]
    }
  }

  /** Reads what a loop is now, as far as the model knows it. */
  async function read(loop: string): Promise<Expected> {
    const { loop: info, leases, after } = await client.idle.why({ loop })
    expect(leases.map(({ owner }) => owner).filter((owner) => owner !== 'hold')).toEqual([])
    return { isArchived: info.state === 'archived', holds: leases.length, window: after.window }
  }

  /** Every loop sleeps that should, and podman runs what the daemon says, and nothing else. */
  async function expectRest(): Promise<void> {
    let words = ''
    const isAtRest = async () => {
      const { loops } = await client.loop.list({ archived: 'include' })
      const awake = loops.filter(({ state }) => ['running', 'starting', 'stopping'].includes(state))
      const wrong = awake.filter(({ name }) => {
        const { isArchived, holds, window } = model.get(name) ?? { isArchived: true, holds: 0, window: WINDOW }
        return isArchived || (holds === 0 && window !== 'never')
      })
      const running = (await workspace.containers()).filter(({ status }) => status === 'running')
      const ids = new Set(running.map(({ labels }) => labels['loopat.loop-id']))
      words = JSON.stringify({
        wrong: wrong.map(({ name, state }) => [name, state]),
        running: ids.size,
        awake: awake.length,
      })
      return wrong.length === 0 && ids.size === awake.length && awake.every(({ id }) => ids.has(id))
    }
    await eventually('all is at rest', isAtRest).catch((cause: unknown) => {
      throw new Error(words, { cause })
    })
  }

  async function play(): Promise<void> {
    const names = [...model.keys()].sort(() => random.below(2) - 0.5).slice(0, ACTIONS)
    const actions = names.map((name) => [name, random.pick(ALL)] as const)
    const doing = actions.map(async ([name, action]) => {
      const before = model.get(name)
      if (before === undefined) throw new Error(`no loop ${name}`)
      return [name, await act(action, name, before)] as const
    })
    await sleep(random.below(MOMENT_MS))
    await kill()
    const outcomes = await Promise.all(doing)
    await start()
    for (const [name, possible] of outcomes) {
      const found = await read(name)
      expect(possible, `${name} after ${JSON.stringify(actions)}`).toContainEqual(found)
      model.set(name, found)
    }
    for (const [name, expected] of model) expect(await read(name), name).toEqual(expected)
    await expectRest()
  }

  it(`should find every loop where it should be, leak none and hold no lease for ever, ${KILLS} times`, async () => {
    for (let number = 1; number <= KILLS; number += 1) {
      await play().catch(async (cause: unknown) => {
        const log = await readFile(join(workspace.home, 'log', 'loopatd.log'), 'utf8')
        const why = cause instanceof Error ? cause.message : String(cause)
        throw new Error(`round ${number} of seed ${random.seed}: ${why}\n${log.slice(-LOG_TAIL)}`, { cause })
      })
    }
    for (const name of model.keys()) {
      if ((await read(name)).isArchived) await client.loop.unarchive({ loop: name })
      expect(await client.exec.run({ loop: name, command: ['echo', 'works'] })).toMatchObject({ stdout: 'works\n' })
    }
  })
})
