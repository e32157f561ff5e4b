import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type LoopatClient, LoopatError } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** How many kills; each takes a few seconds. */
const KILLS = Number(process.env.LOOPAT_LONG_PODMAN_KILLS ?? 15)
/** Nothing that a kill makes fail may take longer to say so, in milliseconds. */
const BOUND_MS = 10_000
/** Nor may anything else hang for longer, in milliseconds: builds take longest. */
const HANG_MS = 60_000
/** How long podman works under load between two kills, in milliseconds, at most. */
const LOAD_MS = 1500

const SEQ = Array.from({ length: 3000 }, (_, index) => `${index + 1}\n`).join('')

/** One request, as it went. */
interface Request {
  readonly kind: string
  /** Milliseconds since the first. */
  readonly began: number
  ended?: number
  error?: unknown
}

/** How long after a kill or freeze a request ended, in milliseconds. */
interface Figure {
  readonly kind: string
  readonly ms: number
  /**
   * Whether it succeeded, or failed for a reason of its own: it went on when podman was back, and took the time that its
   * work takes on this host.
   */
  readonly wentOn: boolean
}

/** What somebody asks for again and again, and a second look at whether it is true. */
interface Work {
  readonly kind: string
  readonly ask: () => Promise<unknown>
  /** Undefined where the answer itself tells all. */
  readonly verify?: (value: unknown) => Promise<void> | void
}

describe('a podman service that is killed or frozen under load', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  const requests: Request[] = []
  let workspace: TestWorkspace
  let client: LoopatClient
  let isOver = false

  beforeAll(async () => {
    workspace = await makeWorkspace()
    // A base without a package manager: its build works for a while, and fails in the end.
    await writeFile(join(workspace.home, 'config.toml'), `image.base = "${workspace.image}"\n`)
    await workspace.ok('daemon', 'start')
    client = await connect({ socket: workspace.socket })
    for (const name of ['runs', 'toggles']) await client.loop.create({ name, image: workspace.image })
  })

  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  async function ask(work: Work): Promise<void> {
    const request: Request = { kind: work.kind, began: performance.now() }
    requests.push(request)
    try {
      const value = await work.ask()
      request.ended = performance.now()
      await work.verify?.(value)
    } catch (error) {
      request.ended ??= performance.now()
      if (!(error instanceof LoopatError)) throw error
      request.error = error
    }
  }

  /** What podman says of the container of a loop. */
  async function truth(name: string): Promise<string | undefined> {
    const { container } = await client.loop.get({ loop: name })
    return (await workspace.engine.container.inspect(container.name))?.status
  }

  async function hasFresh(): Promise<boolean> {
    return (await client.loop.list()).loops.some(({ name }) => name === 'fresh')
  }

  /** Several who ask for one thing after the other, each at its own. */
  function workers(): (readonly Work[])[] {
    const exec = (command: string) => client.exec.run({ loop: 'runs', command: ['sh', '-c', command] })
    const seq: Work = {
      kind: 'exec',
      ask: () => exec('seq 3000; exit 7'),
      verify: (value) => expect(value).toMatchObject({ exitCode: 7, stdout: SEQ, stderr: '', droppedBytes: 0 }),
    }
    const slow: Work = {
      kind: 'exec',
      ask: () => exec('echo a; sleep 0.5; echo b'),
      verify: (value) => expect(value).toMatchObject({ exitCode: 0, stdout: 'a\nb\n' }),
    }
    const stop: Work = {
      kind: 'stop',
      ask: () => client.loop.stop({ loop: 'toggles', graceSeconds: 1 }),
      verify: async () => expect([undefined, 'exited', 'created']).toContain(await truth('toggles')),
    }
    const start: Work = {
      kind: 'start',
      ask: () => client.loop.start({ loop: 'toggles' }),
      verify: async () => expect(await truth('toggles')).toBe('running'),
    }
    const create: Work = {
      kind: 'create',
      ask: () => client.loop.create({ name: 'fresh', image: workspace.image }),
      verify: async () => expect(await truth('fresh')).toBe('running'),
    }
    const remove: Work = {
      kind: 'remove',
      ask: () => client.loop.remove({ loop: 'fresh', force: true }),
      verify: async () => expect(await hasFresh()).toBe(false),
    }
    const list: Work = {
      kind: 'list',
      ask: () => client.loop.list(),
      verify: (value) =>
        expect(value).toMatchObject({ loops: expect.arrayContaining([expect.objectContaining({ name: 'runs' })]) }),
    }
    const build: Work = { kind: 'build', ask: () => client.image.build({}), verify: () => expect.fail('it has no apt') }
    return [[seq], [slow], [stop, start], [create, remove], [list], [build]]
  }

  async function toil(works: readonly Work[]): Promise<void> {
    while (!isOver) {
      for (const work of works) await ask(work)
      // Those who were refused at once are no busy loop.
      await sleep(50)
    }
  }

  /** Kills podman, and waits until what was asked for at that moment has ended, and podman is back. */
  async function survive(what: string): Promise<Figure[]> {
    const pid = await workspace.service.pid()
    if (pid === undefined) throw new Error('podman does not run')
    process.kill(-pid, 'SIGKILL')
    const at = performance.now()
    const hit = requests.filter(({ ended }) => ended === undefined)
    const hanging = () => hit.filter(({ ended }) => ended === undefined).map(({ kind }) => kind)
    await expect.poll(hanging, { timeout: HANG_MS, message: what }).toEqual([])
    await eventually('podman is back', isUp)
    return hit.map((request) => toFigure(request, at))
  }

  function toFigure({ kind, ended = Number.POSITIVE_INFINITY, error }: Request, at: number): Figure {
    const wentOn = error === undefined || (error instanceof LoopatError && error.code === 'image_build_failed')
    return { kind, ms: ended - at, wentOn }
  }

  async function isUp(): Promise<boolean> {
    const { engine } = await client.daemon.status()
    return engine.state === 'up' && (await workspace.service.pid()) !== undefined
  }

  function report(figures: readonly Figure[]): void {
    for (const kind of new Set(figures.map((figure) => figure.kind))) {
      const of = figures.filter((figure) => figure.kind === kind)
      const failed = of.filter(({ wentOn }) => !wentOn)
      console.log(`${kind}: ${failed.length} ended by it, ${spread(failed)}; ${of.length - failed.length} went on`)
    }
  }

  function spread(figures: readonly Figure[]): string {
    const ms = figures.map((figure) => Math.round(figure.ms)).sort((a, b) => a - b)
    return ms.length === 0 ? 'none' : `after ${ms[ms.length >> 1]} ms (median), ${ms.at(-1)} ms (most)`
  }

  it(`should end what is in flight in time and tell no lie when it is killed, ${KILLS} times`, async () => {
    const figures: Figure[] = []
    const before = await workspace.engine.container.inspect((await client.loop.get({ loop: 'runs' })).container.name)
    const toiling = Promise.all(workers().map(toil))
    try {
      for (let number = 1; number <= KILLS; number += 1) {
        // A lie ends the test at once.
        await Promise.race([sleep(random.below(LOAD_MS)), toiling])
        figures.push(...(await survive(`kill ${number} of seed ${random.seed}`)))
      }
    } finally {
      isOver = true
    }
    await toiling
    report(figures)
    expect(figures.filter(({ ms, wentOn }) => ms > BOUND_MS && !wentOn)).toEqual([])
    const codes = requests.flatMap(({ error }) => (error instanceof LoopatError ? [error.code] : []))
    expect(codes).not.toContain('internal')
    const after = await workspace.engine.container.inspect((await client.loop.get({ loop: 'runs' })).container.name)
    expect(after).toEqual(before)
    // Whatever podman was writing, the next start of the daemon makes the store whole.
    await client.close()
    await workspace.ok('daemon', 'restart')
    client = await connect({ socket: workspace.socket })
    await workspace.engine.image.list('localhost/')
  })

  it('should end what needs it in time when it is frozen, let the rest go on, and serve again when it goes on', async () => {
    isOver = false
    await client.loop.start({ loop: 'toggles' })
    const first = requests.length
    // As another user podman runs it; as the loop's own the shells inside do, which podman has no part in.
    const lost = ask({
      kind: 'exec of podman',
      ask: () => client.exec.run({ loop: 'runs', user: 'root', command: ['sleep', '61'] }),
    })
    const kept = client.exec.run({ loop: 'runs', command: ['sh', '-c', 'echo a; sleep 15; echo b; exit 3'] })
    await eventually('the commands run', async () => {
      const { stdout } = await client.exec.run({ loop: 'runs', command: ['ps'] })
      return stdout.includes('sleep 61') && stdout.includes('sleep 15')
    })
    const pid = await workspace.service.pid()
    if (pid === undefined) throw new Error('podman does not run')
    process.kill(-pid, 'SIGSTOP')
    const at = performance.now()
    try {
      const all = workers().flatMap((works) => works.slice(0, 1))
      await Promise.all([lost, ...all.map(ask)])
    } finally {
      process.kill(-pid, 'SIGCONT')
    }
    const figures = requests.slice(first).map((request) => toFigure(request, at))
    report(figures)
    expect(figures.filter(({ ms, wentOn }) => ms > BOUND_MS && !wentOn)).toEqual([])
    expect(figures.filter(({ kind }) => kind === 'exec of podman')).toEqual([
      expect.objectContaining({ wentOn: false }),
    ])
    expect(await kept).toMatchObject({ exitCode: 3, stdout: 'a\nb\n' })
    await eventually('podman serves again', async () => {
      await client.loop.start({ loop: 'toggles' })
      return (await client.exec.run({ loop: 'runs', command: ['echo', 'fine'] })).stdout === 'fine\n'
    })
    expect(await workspace.service.pid()).toBe(pid)
  })
})
