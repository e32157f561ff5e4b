import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type LoopatClient, LoopatError } from '@loopatd/client'
import type { LoopInfo } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask } from '../harness/podman-ask.ts'
import { Random } from '../harness/random.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** How many kills; each takes a few seconds. */
const KILLS = Number(process.env.LOOPAT_LONG_KILLS ?? 40)
/** A request must have ended within this time after a kill, in milliseconds. */
const BOUND_MS = 10_000
/** A killed daemon must serve again within this time, in milliseconds, but for one in a hundred, or one if they are fewer. */
const READY_MS = 3000

const OPERATIONS = ['create', 'exec', 'build', 'remove'] as const
const VICTIMS = ['daemon', 'podman', 'both'] as const
/** How long the operations take when they are left alone, in milliseconds, and a bit more. */
const LENGTHS = { create: 1500, exec: 300, build: 1500, remove: 1500 }

interface Round {
  readonly operation: (typeof OPERATIONS)[number]
  readonly victim: (typeof VICTIMS)[number]
  readonly delayMs: number
}

interface Outcome {
  readonly error?: unknown
  readonly value?: unknown
}

const ofBuildah = (container: string) => container.includes('-working-container')

describe('a daemon or podman service that is killed at any moment', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  const readyMs: number[] = []
  let workspace: TestWorkspace
  /** When the containers of the loops that run all the time were started, by name. */
  let births: Record<string, string>

  beforeAll(async () => {
    workspace = await makeWorkspace()
    // A base without a package manager: its build makes layers and working containers, and fails in the end.
    await writeFile(join(workspace.home, 'config.toml'), `image.base = "${workspace.image}"\n`)
    for (const name of ['alpha', 'beta']) await workspace.ok('create', name, '--image', workspace.image)
    births = await readBirths()
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  async function readBirths(): Promise<Record<string, string>> {
    const born = async (name: string) => await workspace.ok('exec', name, 'cut', '-d ', '-f22', '/proc/1/stat')
    return { alpha: await born('alpha'), beta: await born('beta') }
  }

  async function loops(): Promise<LoopInfo[]> {
    return await workspace.json<LoopInfo[]>('ls', '--all')
  }

  /** The loop that is made and removed exists before whatever needs it. */
  async function prepare({ operation }: Round): Promise<void> {
    const isThere = (await loops()).some(({ name }) => name === 'victim')
    if (operation === 'create' && isThere) await workspace.ok('rm', '--force', 'victim')
    if (operation === 'remove' && !isThere) await workspace.ok('create', 'victim', '--image', workspace.image)
  }

  async function operate(client: LoopatClient, { operation }: Round): Promise<Outcome> {
    const { image } = workspace
    const operations = {
      create: () => client.loop.create({ name: 'victim', image }),
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

  async function kill(victim: Round['victim'], daemonPid: number): Promise<void> {
    const podman = await workspace.service.pid()
    if (victim !== 'podman') process.kill(daemonPid, 'SIGKILL')
    if (victim !== 'daemon' && podman !== undefined) process.kill(-podman, 'SIGKILL')
  }

  /** Waits for the next daemon, and for podman; a daemon that was not killed is restarted, since starts reconcile. */
  async function recover({ victim }: Round): Promise<void> {
    const began = performance.now()
    await workspace.ok('daemon', 'start')
    if (victim !== 'podman') readyMs.push(performance.now() - began)
    await eventually('podman answers', async () => {
      const { engine } = await workspace.json<{ engine: { state: string } }>('daemon', 'status')
      return engine.state === 'up' && (await workspace.service.pid()) !== undefined
    })
    if (victim === 'podman') await workspace.ok('daemon', 'restart')
  }

  /** What was answered is so; what was not answered is one or the other, and whole. */
  async function expectModel({ operation }: Round, { error, value }: Outcome): Promise<void> {
    if (error !== undefined) expect(error).toBeInstanceOf(LoopatError)
    if (operation === 'exec' && value !== undefined) expect(value).toMatchObject({ exitCode: 5, stdout: 'one\ntwo\n' })
    const all = await loops()
    expect(all.filter(({ state }) => state === 'broken')).toEqual([])
    const victim = all.find(({ name }) => name === 'victim')
    if (operation === 'create' && value !== undefined) expect(victim?.state).toBe('running')
    if (operation === 'remove' && value !== undefined) expect(victim).toBeUndefined()
    expect(all.map(({ name }) => name).filter((name) => name !== 'victim')).toEqual(['beta', 'alpha'])
    expect(await readBirths()).toEqual(births)
    if (victim !== undefined) expect(await workspace.ok('exec', 'victim', 'echo', 'works')).toBe('works')
  }

  async function expectNothingLeft(): Promise<void> {
    const ids = new Set((await loops()).map(({ id }) => id))
    await eventually('nothing is left behind', async () => (await leftovers(ids)).length === 0).catch(async () => {
      expect(await leftovers(ids)).toEqual([])
    })
  }

  async function leftovers(ids: ReadonlySet<string>): Promise<string[]> {
    const ours = { 'loopat.workspace': workspace.name }
    const known = (labels: Readonly<Record<string, string>>) => ids.has(labels['loopat.loop-id'] ?? '')
    const containers = (await workspace.containers()).filter(({ labels }) => !known(labels))
    const networks = (await workspace.engine.network.list(ours)).filter(({ labels }) => !known(labels))
    const all = await ask(workspace.service.socketPath, '/v4.0.0/libpod/containers/json?all=true&external=true')
    const working = (Array.isArray(all) ? all : [all]).map((container) => JSON.stringify(container)).filter(ofBuildah)
    const loopFiles = await readdir(join(workspace.home, 'loops'))
    const files = (await readdir(workspace.home, { recursive: true })).filter((path) =>
      /\.tmp~$|(^|\/)\.creating$|(^|\/)\.removing-/.test(path),
    )
    return [
      ...[...containers, ...networks].map(({ name }) => name),
      ...working,
      ...files,
      ...loopFiles.filter((name) => !ids.has(name)),
    ]
  }

  it(`should leave nothing behind, lose no running loop and tell no lie, ${KILLS} times`, async () => {
    for (let number = 1; number <= KILLS; number += 1) {
      const operation = random.pick(OPERATIONS)
      const round = { operation, victim: random.pick(VICTIMS), delayMs: random.below(LENGTHS[operation]) }
      const what = `round ${number} of seed ${random.seed}: ${JSON.stringify(round)}`
      await prepare(round)
      const daemonPid = await workspace.daemonPid()
      const client = await connect({ socket: workspace.socket })
      const outcome = operate(client, round)
      await new Promise((resolve) => setTimeout(resolve, round.delayMs))
      await kill(round.victim, daemonPid)
      const late = new Promise<Outcome>((resolve) => setTimeout(resolve, BOUND_MS, { error: `${what} hangs` }))
      const [ended] = await Promise.all([Promise.race([outcome, late]), recover(round)])
      await client.close()
      try {
        await expectModel(round, ended)
        await expectNothingLeft()
      } catch (cause) {
        throw new Error(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
      }
    }
    const sorted = readyMs.sort((a, b) => a - b)
    const p99 = sorted[Math.floor((sorted.length - 1) * 0.99)] ?? 0
    console.log(
      `ready again: median ${Math.round(sorted[sorted.length >> 1] ?? 0)} ms, p99 ${Math.round(p99)} ms of ${sorted.length} kills`,
    )
    expect(p99).toBeLessThanOrEqual(READY_MS)
  })
})
