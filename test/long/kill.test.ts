import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type LoopatClient, LoopatError } from '@loopatd/client'
import type { LoopInfo } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { makeRepo } from '../harness/repo.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'
import { findLeftovers, listMonitors } from './kill-model.ts'

/** How many rounds, each with one kill or two. */
const KILLS = Number(process.env.LOOPAT_LONG_KILLS ?? 40)
/** A request must have ended within this time after a kill, in milliseconds. */
const BOUND_MS = 10_000
/** A killed daemon must serve again within this time, in milliseconds, but for one in a hundred, or one if they are fewer. */
const READY_MS = 3000
/** How long after its start a daemon may be killed again, in milliseconds. */
const START_MS = 800

/** Characters of the daemon's log that a failure shows. */
const LOG_TAIL = 6000

const VICTIMS = ['daemon', 'podman', 'both'] as const
/** How long the operations take when they are left alone, in milliseconds, and a bit more. */
const LENGTHS = { create: 900, clone: 1100, exec: 300, build: 1200, remove: 500 }

interface Round {
  readonly operation: keyof typeof LENGTHS
  readonly victim: (typeof VICTIMS)[number]
  readonly delayMs: number
  /** When the daemon that takes over is killed, too. */
  readonly againMs?: number
}

interface Outcome {
  readonly error?: unknown
  readonly value?: unknown
}

describe('a daemon or podman service that is killed at any moment', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  const readyMs: number[] = []
  /** Rounds in which the kill hit the operation, and did not come after it. */
  let hits = 0
  let workspace: TestWorkspace
  let daemon: ChildProcess
  let client: LoopatClient
  /** What can be cloned. */
  let source: string
  /** Since when and as which processes the loops run that run all the time. */
  let births: unknown

  beforeAll(async () => {
    // A base without a package manager: its build makes layers and working containers, and fails in the end.
    workspace = await makeWorkspace()
    await writeFile(join(workspace.home, 'config.toml'), `image.base = "${workspace.image}"\n`)
    const files = Array.from({ length: 200 }, (_, n) => [`file-${n}`, randomBytes(5000).toString('base64')])
    source = await makeRepo(join(workspace.directory, 'source'), { files: Object.fromEntries(files) })
    await start()
    for (const name of ['alpha', 'beta']) await client.loop.create({ name, image: workspace.image })
    births = await readBirths()
  })
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  async function readBirths(): Promise<unknown> {
    const containers = await Promise.all(
      (await loops())
        .filter(({ name }) => name !== 'victim')
        .map(({ id }) => workspace.engine.container.inspect(`loopat-${workspace.name}-${id}`)),
    )
    return containers.map((container) => ({ id: container?.id, pid: container?.pid, startedAt: container?.startedAt }))
  }

  async function loops(): Promise<LoopInfo[]> {
    return (await client.loop.list({ archived: 'include' })).loops
  }

  function launch(): void {
    daemon = spawn(workspace.env.LOOPATD ?? '', [], { env: workspace.env, stdio: ['ignore', 'ignore', 'inherit'] })
  }

  /** Starts a daemon and waits until it answers. */
  async function start(): Promise<void> {
    launch()
    for (;;) {
      try {
        client = await connect({ socket: workspace.socket })
        await client.daemon.status()
        return
      } catch (error) {
        if (!(error instanceof LoopatError) || error.code !== 'daemon_unreachable') throw error
        expect({ exitCode: daemon.exitCode, signal: daemon.signalCode }).toEqual({ exitCode: null, signal: null })
        await sleep(10)
      }
    }
  }

  async function end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const ended = once(daemon, 'exit')
    daemon.kill(signal)
    await ended
  }

  /** The loop that is made and removed is there, or not: that decides what can be done. */
  async function draw(): Promise<Round> {
    const isThere = (await loops()).some(({ name }) => name === 'victim')
    const operation = random.pick(
      isThere ? (['remove', 'remove', 'exec', 'build'] as const) : (['create', 'clone', 'exec', 'build'] as const),
    )
    const round = { operation, victim: random.pick(VICTIMS), delayMs: random.below(LENGTHS[operation]) }
    return random.below(4) === 0 ? { ...round, againMs: random.below(START_MS) } : round
  }

  async function operate({ operation }: Round, repo: string): Promise<Outcome> {
    const { image } = workspace
    const operations = {
      create: () => client.loop.create({ name: 'victim', image }),
      clone: () => client.loop.create({ name: 'victim', image, repo: { source: repo } }),
      exec: () => client.exec.run({ loop: 'alpha', command: ['sh', '-c', 'echo one; sleep 0.2; echo two; exit 5'] }),
      build: () => client.image.build({}),
      remove: () => client.loop.remove({ loop: 'victim', force: true }),
    }
    try {
      return { value: await operations[operation]() }
    } catch (error) {
      return { error }
    }
  }

  /** An address that may have a mirror, or one that has none. */
  async function drawSource({ operation }: Round, number: number): Promise<string> {
    if (operation !== 'clone' || random.below(2) === 0) return source
    const fresh = join(workspace.directory, `source-${number}`)
    await cp(source, fresh, { recursive: true })
    return fresh
  }

  /** Kills, and has a daemon that was killed replaced. @returns when the daemon answers again */
  async function strike({ victim, againMs }: Round): Promise<void> {
    const podman = await workspace.service.pid()
    let began = performance.now()
    if (victim !== 'daemon' && podman !== undefined) process.kill(-podman, 'SIGKILL')
    if (victim === 'podman') return
    await end('SIGKILL')
    if (againMs !== undefined) {
      launch()
      await sleep(againMs)
      began = performance.now()
      await end('SIGKILL')
    }
    await start()
    readyMs.push(performance.now() - began)
  }

  /** Waits for podman; a daemon that was not killed is started anew, since starts reconcile. */
  async function recover({ victim }: Round): Promise<void> {
    const isUp = async () => (await client.daemon.status()).engine.state === 'up'
    await eventually('podman answers', async () => (await isUp()) && (await workspace.service.pid()) !== undefined)
    if (victim !== 'podman') return
    await client.close()
    await end('SIGTERM')
    await start()
  }

  /** What was answered is so; what was not answered is one or the other, and whole. */
  async function expectModel({ operation }: Round, { error, value }: Outcome): Promise<void> {
    if (error !== undefined) expect(error).toBeInstanceOf(LoopatError)
    if (operation === 'exec' && value !== undefined) expect(value).toMatchObject({ exitCode: 5, stdout: 'one\ntwo\n' })
    if (operation === 'build') expect(value).toBeUndefined()
    const all = await loops()
    expect(all.filter(({ state }) => state === 'broken')).toEqual([])
    const victim = all.find(({ name }) => name === 'victim')
    if ((operation === 'create' || operation === 'clone') && value !== undefined) expect(victim?.state).toBe('running')
    if (operation === 'remove' && value !== undefined) expect(victim).toBeUndefined()
    expect(all.map(({ name }) => name).filter((name) => name !== 'victim')).toEqual(['beta', 'alpha'])
    expect(await readBirths()).toEqual(births)
    for (const { name } of all) await expectUsable(name)
  }

  async function expectUsable(loop: string): Promise<void> {
    expect(await client.exec.run({ loop, command: ['echo', 'works'] })).toMatchObject({
      exitCode: 0,
      stdout: 'works\n',
    })
  }

  async function expectNothingLeft(): Promise<void> {
    const ids = new Set((await loops()).map(({ id }) => id))
    const left = () => findLeftovers(workspace, ids)
    await expect.poll(left, { timeout: 30_000, interval: 100, message: 'nothing is left behind' }).toEqual([])
  }

  async function lastWords(): Promise<string> {
    const log = await readFile(join(workspace.home, 'log', 'loopatd.log'), 'utf8')
    return log.slice(-LOG_TAIL)
  }

  async function play(round: Round, number: number): Promise<void> {
    const before = client
    const repo = await drawSource(round, number)
    const state = { isOver: false }
    const outcome = operate(round, repo).finally(() => {
      state.isOver = true
    })
    await sleep(round.delayMs)
    if (!state.isOver) hits += 1
    const late = sleep(BOUND_MS, { error: 'it hangs' })
    const [ended] = await Promise.all([Promise.race([outcome, late]), strike(round)])
    await recover(round)
    await before.close()
    await expectModel(round, ended)
    await expectNothingLeft()
  }

  it(`should leave nothing behind, lose no running loop and tell no lie, ${KILLS} times`, async () => {
    for (let number = 1; number <= KILLS; number += 1) {
      const round = await draw()
      try {
        await play(round, number)
      } catch (cause) {
        const what = `round ${number} of seed ${random.seed}: ${JSON.stringify(round)}`
        const why = cause instanceof Error ? cause.message : String(cause)
        throw new Error(`${what}: ${why}\n${await lastWords()}`, { cause })
      }
    }
    const sorted = readyMs.sort((a, b) => a - b)
    const quantile = (part: number) => Math.round(sorted[Math.floor((sorted.length - 1) * part)] ?? 0)
    console.log(
      `${hits} of ${KILLS} kills hit what was under way; ready again after ${sorted.length} of them: ` +
        `p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms, at most ${quantile(1)} ms`,
    )
    expect(quantile(0.99)).toBeLessThanOrEqual(READY_MS)
    // What podman keeps for a command stays for some seconds.
    const running = (await loops()).filter(({ state }) => state === 'running')
    await eventually('monitors watch over running loops only', async () => {
      return (await listMonitors(workspace)).length === running.length
    })
  })
})
