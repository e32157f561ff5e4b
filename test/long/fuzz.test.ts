import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { COMMON_ERRORS, ERRORS, METHODS, type MethodName } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { frameText, Peer, type WireMessage } from '../harness/peer.ts'
import { Random } from '../harness/random.ts'
import { makeWorkspace, residentBytes, type TestWorkspace } from '../harness/workspace.ts'
import { SchemaValues } from './schema-value.ts'

const FRAMES = Number(process.env.LOOPAT_LONG_FRAMES ?? 40_000)
const PARAMS = Number(process.env.LOOPAT_LONG_PARAMS ?? 8000)
/** What a daemon that was just started may grow by while it is attacked, in bytes. */
const GROWTH_BYTES = 64 * 1_048_576
/** Nobody may wait longer than this for an answer meanwhile, in milliseconds. */
const LIVENESS_MS = 2000
/** How long a client is served alone, for comparison, in milliseconds. */
const QUIET_MS = 5000
const PARALLEL = 8

/** A client in a process of its own, which is not held up by the attackers: prints its waits in milliseconds. */
const BYSTANDER = `
import { connect } from ${JSON.stringify(fileURLToPath(new URL('../../client/dist/index.js', import.meta.url)))}
const client = await connect({ socket: process.argv[1] })
const waits = []
process.once('SIGTERM', async () => { await client.close(); console.log(JSON.stringify(waits)); process.exit(0) })
for (;;) {
  const began = performance.now()
  await client.loop.list()
  waits.push(performance.now() - began)
  await new Promise((resolve) => setTimeout(resolve, 20))
}`

/** Methods that end the daemon, build images from the network, or ask the host at length. */
const LEFT_OUT = new Set<MethodName>(['daemon/shutdown', 'doctor/run', 'image/build', 'initialize'])

describe('a daemon under fuzz', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  const values = new SchemaValues(random)
  let workspace: TestWorkspace

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', 'keep')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  /** What another client waits for its answers while something goes on, sorted, in milliseconds. */
  async function waitsDuring(something: () => Promise<unknown>): Promise<number[]> {
    const bystander = spawn(process.execPath, ['--input-type=module', '-e', BYSTANDER, workspace.socket])
    const exited = once(bystander, 'exit')
    const output = text(bystander.stdout)
    try {
      await something()
    } finally {
      bystander.kill('SIGTERM')
      await exited
    }
    return (JSON.parse(await output) as number[]).sort((a, b) => a - b)
  }

  const percentiles = (waits: readonly number[]) =>
    [0.5, 0.99, 1].map((part) => (waits[Math.ceil(waits.length * part) - 1] ?? Number.NaN).toFixed(1)).join(' / ')

  /** Attacks a daemon that was just started while somebody else is served; it survives, does not swell, and serves. */
  async function attack(something: () => Promise<void>): Promise<void> {
    await workspace.ok('daemon', 'restart')
    const pid = await workspace.daemonPid()
    const before = await residentBytes(pid)
    const quiet = await waitsDuring(() => new Promise((resolve) => setTimeout(resolve, QUIET_MS)))
    const waits = await waitsDuring(something)
    const growth = (await residentBytes(pid)) - before
    console.log(`others waited ${percentiles(waits)} ms, and ${percentiles(quiet)} ms before (p50 / p99 / max)`)
    console.log(`memory grew by ${(growth / 1_048_576).toFixed(1)} MiB`)
    expect(await workspace.daemonPid()).toBe(pid)
    expect(waits.at(-1)).toBeLessThan(LIVENESS_MS)
    expect(growth).toBeLessThan(GROWTH_BYTES)
    expect(await workspace.ok('exec', 'keep', 'echo', 'fine')).toBe('fine')
  }

  function expectWellFormed(message: WireMessage): void {
    const { id, method, result, error } = message
    if (method !== undefined) return
    expect(id === null || typeof id === 'string' || typeof id === 'number').toBe(true)
    expect([result, error].filter((part) => part !== undefined)).toHaveLength(1)
    if (error === undefined) return
    expect(Object.keys(ERRORS)).toContain(error.data.name)
    expect(error.data.name, error.message).not.toBe('internal')
    expect(error).toMatchObject({ code: expect.any(Number), message: expect.stringMatching(/./) })
  }

  const request = (id: unknown, method: string, params: unknown = {}) =>
    frameText(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
  const hello = request(0, 'initialize', { protocolVersion: 1, client: { name: 'fuzz', version: '1' } })

  function mutated(): Buffer {
    const bytes = Buffer.from(request(1 + random.below(3), random.pick(['loop/list', 'loop/get']), { loop: 'fuzz' }))
    for (let count = 1 + random.below(4); count > 0; count -= 1) bytes[random.below(bytes.length)] = random.below(256)
    return random.below(4) === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes
  }

  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`

  /** Frames of which most break the protocol. */
  const frames: readonly (() => Buffer)[] = [
    mutated,
    mutated,
    mutated,
    () =>
      Buffer.from(
        `Content-Length: ${random.pick(['-1', '-9999999999', '99999999999', '1e9', '0x10', 'NaN', ' '])}\r\n\r\n{}`,
      ),
    () => Buffer.from(`Content-Length: ${random.below(2 ** 31)}\r\n\r\n{}`),
    () => Buffer.from('X-Flood: y\r\n'.repeat(1 + random.below(5000))),
    () => Buffer.alloc(1 + random.below(100_000), random.below(256)),
    () =>
      frameText(`{"jsonrpc":"2.0","id":7,"method":"loop/get","params":{"loop":${nested(1 + random.below(20_000))}}}`),
    () => Buffer.concat([request(5, 'loop/get', { loop: 'fuzz' }), request(5, 'loop/get', { loop: 'fuzz' })]),
    () => request(random.pick([null, {}, [], true, 'x'.repeat(300), 1e308]), 'loop/list'),
    () => frameText(JSON.stringify(random.pick([null, [], 'x', 1, {}, { jsonrpc: '1.0' }, { jsonrpc: '2.0', id: 1 }]))),
    () => Buffer.from(`STREAM ${'x'.repeat(random.below(100))}\n`),
    () => request(9, random.pick(['', 'loop', '__proto__', 'constructor', '$/x', 'loop/list\0', 'x'.repeat(10_000)])),
  ]

  /** One connection: a greeting most of the time, some frames, and the end. */
  async function abuse(count: number): Promise<void> {
    await using peer = await Peer.connect(workspace.socket)
    if (random.below(10) > 0) peer.write(hello)
    for (let sent = 0; sent < count; sent += 1) peer.write(random.pick(frames)())
    peer.socket.end()
    for (let message = await peer.next(); message !== undefined; message = await peer.next()) expectWellFormed(message)
  }

  it(`should answer ${FRAMES} broken frames in good order and serve others meanwhile`, async () => {
    await attack(async () => {
      let left = FRAMES
      const attacker = async () => {
        while (left > 0) {
          const some = 1 + random.below(4)
          left -= some
          await abuse(some)
        }
      }
      await Promise.all(Array.from({ length: PARALLEL }, attacker))
    })
  })

  /** Keeps generated params from doing what a test must not: reaching out to the network, or making hundreds of loops. */
  function tame(method: MethodName, params: unknown): unknown {
    if (method !== 'loop/create' || typeof params !== 'object' || params === null || Array.isArray(params))
      return params
    const { repo, image, ...rest } = params as Record<string, unknown>
    const isOdd = (value: unknown) => typeof value !== 'object' && typeof value !== 'string'
    return { ...rest, start: false, ...(isOdd(repo) ? { repo } : {}), ...(isOdd(image) ? { image } : {}) }
  }

  async function call(peer: Peer, method: MethodName): Promise<void> {
    const { params: schema, errors } = METHODS[method]
    const params = tame(method, random.below(2) === 0 ? values.valid(schema) : values.almost(schema))
    const answer = await peer.request(method, params)
    const what = `${method} ${JSON.stringify(params).slice(0, 500)}`
    try {
      expectWellFormed(answer)
      const name = answer.error?.data.name
      const isValid = schema.safeParse(JSON.parse(JSON.stringify(params))).success
      if (!isValid) expect(name).toBe('invalid_params')
      if (name !== undefined) expect([...errors, ...COMMON_ERRORS]).toContain(name)
      else METHODS[method].result.parse(answer.result)
    } catch (cause) {
      throw new Error(`seed ${random.seed}: ${what} was answered ${JSON.stringify(answer).slice(0, 500)}`, { cause })
    }
    if (method === 'loop/create' && answer.error === undefined) await removeMade(peer, answer.result)
  }

  async function removeMade(peer: Peer, result: unknown): Promise<void> {
    const { loop } = METHODS['loop/create'].result.parse(result)
    const removed = await peer.request('loop/remove', { loop: loop.id, force: true })
    expect(removed.error).toBeUndefined()
  }

  it(`should answer ${PARAMS} calls with generated params as the contract says`, async () => {
    const methods = (Object.keys(METHODS) as MethodName[]).filter((method) => !LEFT_OUT.has(method))
    // Named by generated params; calls may rename, stop and remove it.
    await workspace.ok('create', 'fuzz')
    await attack(async () => {
      let left = PARAMS
      const caller = async () => {
        while (left > 0) {
          await using peer = await Peer.initialized(workspace.socket)
          for (let calls = 0; calls < 30 && left > 0; calls += 1, left -= 1) await call(peer, random.pick(methods))
        }
      }
      await Promise.all(Array.from({ length: PARALLEL }, caller))
    })
  })
})
