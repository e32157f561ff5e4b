import { connect, type LoopatClient, LoopatError } from '@loopatd/client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fault, type FaultProxy, startFaultProxy } from '../harness/fault-proxy.ts'
import { skipsPodman, startPodman, type TestPodman } from '../harness/podman.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** No call may hang for longer when podman misbehaves, in milliseconds. */
const BOUND_MS = 10_000

/** Everything but the question whether podman is there, so that the daemon stays with the proxy. */
const ALL_BUT_PING = /^(?!GET \/_ping)/

/** How a request ended. */
type Ending = { readonly name: string; readonly ms: number } & (
  | { readonly value: unknown; readonly error?: undefined }
  | { readonly value?: undefined; readonly error: unknown }
)

describe.skipIf(skipsPodman())('podman behind a connection that fails', () => {
  let podman: TestPodman
  let proxy: FaultProxy
  let workspace: TestWorkspace
  let client: LoopatClient

  beforeAll(async () => {
    podman = await startPodman()
    proxy = await startFaultProxy(podman.socketPath)
    workspace = await makeWorkspace({ podmanSocket: proxy.socketPath })
    await workspace.ok('daemon', 'start')
    client = await connect({ socket: workspace.socket })
    for (const name of ['runs', 'stops', 'rests']) await client.loop.create({ name })
  })

  beforeEach(async () => {
    const { loops } = await client.loop.list()
    if (loops.some(({ name }) => name === 'fresh')) await client.loop.remove({ loop: 'fresh', force: true })
    await Promise.all([
      client.loop.start({ loop: 'runs' }),
      client.loop.start({ loop: 'stops' }),
      client.loop.stop({ loop: 'rests', graceSeconds: 0 }),
    ])
  })

  afterEach(() => proxy.switch())

  afterAll(async () => {
    proxy.switch()
    await client.close()
    await workspace[Symbol.asyncDispose]()
    await proxy[Symbol.asyncDispose]()
    await podman[Symbol.asyncDispose]()
  })

  async function timed(name: string, work: () => Promise<unknown>): Promise<Ending> {
    const began = performance.now()
    const ms = () => Math.round(performance.now() - began)
    try {
      const value = await work()
      return { name, ms: ms(), value }
    } catch (error) {
      return { name, ms: ms(), error }
    }
  }

  /** Asks for one thing of each kind at the same time. */
  function askAll(): Promise<Ending[]> {
    return Promise.all([
      timed('create', () => client.loop.create({ name: 'fresh' })),
      timed('start', () => client.loop.start({ loop: 'rests' })),
      // As another user: what runs as the loop's own asks podman nothing.
      timed('exec', () => client.exec.run({ loop: 'runs', user: 'root', command: ['sh', '-c', 'seq 2000; exit 7'] })),
      timed('stop', () => client.loop.stop({ loop: 'stops', graceSeconds: 0 })),
      timed('list', () => client.loop.list()),
      timed('get', () => client.loop.get({ loop: 'runs' })),
    ])
  }

  /** What must hold of each ending, whatever went wrong. */
  function expectTyped(endings: readonly Ending[]): void {
    for (const { name, ms, error } of endings) {
      expect(ms, `${name} took ${ms} ms`).toBeLessThan(BOUND_MS)
      if (error === undefined) continue
      expect(error, name).toBeInstanceOf(LoopatError)
      const code = error instanceof LoopatError ? error.code : ''
      expect(['connection_lost', 'engine_failed', 'engine_unavailable', 'start_failed']).toContain(code)
    }
  }

  /** What podman itself says of the container of a loop. */
  async function truth(name: string): Promise<string | undefined> {
    const { loops } = await client.loop.list()
    const id = loops.find((loop) => loop.name === name)?.id
    const found = await podman.engine.container.list({ 'loopat.workspace': workspace.name, 'loopat.loop-id': id ?? '' })
    return found[0]?.status
  }

  /** A success is one in podman's eyes, too. */
  async function expectNoFalseSuccess(endings: readonly Ending[]): Promise<void> {
    const ok = new Map(endings.filter(({ error }) => error === undefined).map(({ name, value }) => [name, value]))
    if (ok.has('create')) expect(await truth('fresh')).toBe('running')
    if (ok.has('start')) expect(await truth('rests')).toBe('running')
    if (ok.has('stop')) expect([undefined, 'exited', 'created']).toContain(await truth('stops'))
    if (ok.has('exec')) {
      const stdout = Array.from({ length: 2000 }, (_, index) => `${index + 1}\n`).join('')
      expect(ok.get('exec')).toMatchObject({ exitCode: 7, stdout, stderr: '', droppedBytes: 0 })
    }
  }

  /** Without faults everything works at once, and what is shown is what podman says. */
  async function expectRecovered(): Promise<void> {
    const { loops } = await client.loop.list()
    if (!loops.some(({ name }) => name === 'fresh')) await client.loop.create({ name: 'fresh' })
    await client.loop.start({ loop: 'rests' })
    await client.loop.stop({ loop: 'stops', graceSeconds: 0 })
    expect(await client.exec.run({ loop: 'fresh', command: ['echo', 'fine'] })).toMatchObject({ stdout: 'fine\n' })
    await expectTrueStates()
    await expectEvents()
    await client.loop.remove({ loop: 'fresh', force: true })
    const networks = await podman.engine.network.list({ 'loopat.workspace': workspace.name })
    expect(networks).toHaveLength(3)
    // One that could not be stopped was removed: that is a way to stop it, too.
    expect((await workspace.containers()).length).toBeLessThanOrEqual(3)
  }

  async function expectTrueStates(): Promise<void> {
    const { loops } = await client.loop.list()
    const shown = Object.fromEntries(loops.map(({ name, state }) => [name, state]))
    expect(shown).toEqual({ runs: 'running', stops: 'stopped', rests: 'running', fresh: 'running' })
    expect(await truth('rests')).toBe('running')
    expect([undefined, 'exited']).toContain(await truth('stops'))
  }

  /** What happens to a container behind the daemon's back is seen. */
  async function expectEvents(): Promise<void> {
    await using events = await client.event.subscribe()
    const { container } = await client.loop.get({ loop: 'fresh' })
    await podman.engine.container.stop(container.name, 0)
    const late = setTimeout(() => void events.close(), BOUND_MS)
    const seen: string[] = []
    for await (const event of events) {
      if (event.kind !== 'loop/changed' || event.loop.name !== 'fresh') continue
      seen.push(event.loop.state)
      if (event.loop.state === 'stopped') break
    }
    clearTimeout(late)
    expect(seen).toContain('stopped')
  }

  const faults: (readonly [string, Fault])[] = [
    ['answers late', { kind: 'delay', ms: 100 }],
    ['resets requests at their first byte', { kind: 'reset', direction: 'request', bytes: 0 }],
    ['resets requests in their headers', { kind: 'reset', direction: 'request', bytes: 40 }],
    ['resets answers at their first byte', { kind: 'reset', direction: 'answer', bytes: 0 }],
    ['resets answers in their body', { kind: 'reset', direction: 'answer', bytes: 400 }],
    ['cuts answers off', { kind: 'truncate' }],
    ['answers with a page of HTML', { kind: 'garble' }],
    ['answers 500', { kind: 'refuse-500' }],
    ['closes connections at once', { kind: 'hang-up' }],
  ]

  it.each(faults)(
    'that %s should never hang or deceive, and everything should work afterwards',
    async (_name, fault) => {
      proxy.switch({ on: ALL_BUT_PING, fault })
      // The stream of events meets the fault as well.
      proxy.cut()
      const endings = await askAll()
      expect(proxy.struck.some((request) => request.fault === fault.kind)).toBe(true)
      proxy.switch()
      expectTyped(endings)
      await expectNoFalseSuccess(endings)
      await expectRecovered()
    },
  )

  it('that is away for a moment should only delay', async () => {
    proxy.refuse()
    proxy.cut()
    setTimeout(() => void proxy.listen(), 1000)
    const endings = await askAll()
    expect(endings.filter(({ error }) => error !== undefined)).toEqual([])
    expectTyped(endings)
    await expectNoFalseSuccess(endings)
    await expectRecovered()
  })

  it('that is silent should end every call in time, and everything should work afterwards', async () => {
    proxy.switch({ on: ALL_BUT_PING, fault: { kind: 'half-open' } })
    proxy.cut()
    const endings = await askAll()
    proxy.switch()
    expectTyped(endings)
    await expectNoFalseSuccess(endings)
    await expectRecovered()
  })

  // Podman lives, and can be asked through other connections; what it is asked for in the usual way gets lost.
  const losses: (readonly [string, RegExp])[] = [
    ['is to change something', /^(POST|DELETE) /],
    ['is asked how things are', /^GET \/(containers|exec|images|networks)\b/],
    ['is to begin a command', /^POST \/exec\//],
  ]

  it.each(losses)(
    'that is silent when it %s should end every call in time, and everything should work afterwards',
    async (_name, on) => {
      proxy.switch({ on, fault: { kind: 'half-open' } })
      const endings = await askAll()
      expect(proxy.struck.some(({ fault }) => fault === 'half-open')).toBe(true)
      expect(endings.some(({ error }) => error !== undefined)).toBe(true)
      proxy.switch()
      expectTyped(endings)
      await expectNoFalseSuccess(endings)
      await expectRecovered()
    },
  )

  it('that is silent about events alone should not leave states wrong', async () => {
    proxy.switch({ on: /\/events/, fault: { kind: 'half-open' } })
    proxy.cut()
    await eventually('the daemon follows events again', async () =>
      proxy.struck.some(({ request }) => request.includes('/events')),
    )
    const { loop } = await client.loop.create({ name: 'fresh' })
    const { container } = await client.loop.get({ loop: loop.id })
    await podman.engine.container.stop(container.name, 0)
    proxy.switch()
    await eventually(
      'the end of a container is seen',
      async () => (await client.loop.get({ loop: loop.id })).loop.state === 'stopped',
    )
    await client.loop.start({ loop: loop.id })
    await expectRecovered()
  })
})
