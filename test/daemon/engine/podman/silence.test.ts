import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { PodmanApi } from '../../../../daemon/engine/podman/api.ts'
import { isAtWorkOn } from '../../../../daemon/engine/podman/container-work.ts'
import { DockerClient } from '../../../../daemon/engine/podman/docker.ts'
import { answer, type FakeApi, startFakeApi } from '../../../harness/podman-api.ts'

const LIMITS = { quietMs: 20, answerMs: 150, idleMs: 200, longestMs: 60_000 }

const GET = { method: 'GET', path: '/thing', ok: [200], what: 'get the thing', repeatable: true } as const
const POST = { method: 'POST', path: '/thing', ok: [200], what: 'make the thing', repeatable: false } as const

const noAnswer = expect.objectContaining({ kind: 'connection_lost', message: expect.stringContaining('no longer') })
const lost = expect.objectContaining({ kind: 'connection_lost', message: expect.stringContaining('no sign') })

/** A podman that knows its store, is asked for things, and does not answer those that a test holds back. */
interface Fake extends AsyncDisposable {
  readonly api: PodmanApi
  readonly requests: readonly string[]
  /** The lock of the store; a test that opens it does not lock it. */
  readonly lockPath: string
  /** Silent as a whole. */
  isFrozen: boolean
  /** How long it takes to tell about itself. */
  infoMs: number
  /** How it answers the n-th request for the thing, counted from 0; by default never. */
  answerThing: (response: ServerResponse, count: number) => void
  /** How it answers questions about the container `x`. */
  answerContainer: (response: ServerResponse) => void
}

async function startFake(limits = LIMITS): Promise<Fake> {
  const graphRoot = await mkdtemp(join(tmpdir(), 'loopat-store-'))
  await mkdir(join(graphRoot, 'overlay-layers'))
  const lockPath = join(graphRoot, 'overlay-layers', 'layers.lock')
  await (await open(lockPath, 'w')).close()
  let count = 0
  const http: FakeApi = await startFakeApi((request, response) => {
    request.resume()
    const path = request.url ?? ''
    if (fake.isFrozen) return
    if (path.includes('/exists')) answer(response, 404, {})
    else if (path.includes('/info'))
      setTimeout(() => answer(response, 200, { store: { graphRoot, graphDriverName: 'overlay' } }), fake.infoMs)
    else if (path.includes('/containers/x/json')) fake.answerContainer(response)
    else fake.answerThing(response, count++)
  })
  const fake: Fake = {
    api: new PodmanApi(new DockerClient(() => http.socketPath), 500, limits),
    requests: http.requests,
    lockPath,
    isFrozen: false,
    infoMs: 0,
    answerThing: () => undefined,
    answerContainer: (response) => answer(response, 200, { State: { Status: 'running' } }),
    [Symbol.asyncDispose]: async () => {
      await http[Symbol.asyncDispose]()
      await rm(graphRoot, { recursive: true })
    },
  }
  return fake
}

function things({ requests }: Fake): number {
  return requests.filter((request) => request.endsWith('/thing')).length
}

describe('SilenceWatch', () => {
  it('should end everything when podman as a whole is silent, and the next call sooner', async () => {
    await using fake = await startFake()
    fake.isFrozen = true
    await expect(fake.api.call(GET)).rejects.toEqual(noAnswer)
    await expect(fake.api.ask(GET)).rejects.toEqual(noAnswer)
    await expect(fake.api.stream(GET)).rejects.toEqual(noAnswer)
    await expect(fake.api.subscribe({ ...GET, isAtWork: () => Promise.resolve(true) })).rejects.toEqual(noAnswer)
    await expect(fake.api.hijack(POST)).rejects.toEqual(noAnswer)
    await expect(fake.api.call({ ...POST, upload: Readable.from(['x']) })).rejects.toEqual(noAnswer)
    fake.isFrozen = false
    fake.answerThing = (response) => answer(response, 200, { fine: true })
    expect(await fake.api.call(GET)).toEqual({ fine: true })
  })

  it('should break a stream off when podman as a whole falls silent, and leave a quiet one alone', async () => {
    await using fake = await startFake()
    const streams: ServerResponse[] = []
    fake.answerThing = (response) => {
      response.writeHead(200).write('begin\n')
      streams.push(response)
    }
    const quiet = await fake.api.stream(GET)
    await expect
      .poll(() => fake.requests.filter((request) => request.includes('/exists')).length, { timeout: 8000 })
      .toBe(1)
    streams[0]?.end('end\n')
    expect(await text(quiet)).toBe('begin\nend\n')
    const broken = await fake.api.stream(GET)
    fake.isFrozen = true
    await expect(text(broken)).rejects.toEqual(noAnswer)
  })

  it('should repeat once what can be repeated, when podman lives and does not work on it', async () => {
    await using fake = await startFake()
    fake.answerThing = (response, count) => {
      if (count > 0) answer(response, 200, { fine: true })
    }
    expect(await fake.api.call(GET)).toEqual({ fine: true })
    expect(things(fake)).toBe(2)
    fake.answerThing = () => undefined
    await expect(fake.api.call(GET)).rejects.toEqual(lost)
    expect(things(fake)).toBe(4)
    await expect(fake.api.call(POST)).rejects.toEqual(lost)
    await expect(fake.api.ask(GET)).rejects.toEqual(lost)
    expect(things(fake)).toBe(6)
  })

  it('should wait as long as a container is locked or changes', async () => {
    await using fake = await startFake()
    const call = { ...POST, isAtWork: isAtWorkOn('x') }
    const finish = (after: number) => {
      fake.answerThing = (response) => setTimeout(() => answer(response, 200, { late: true }), after)
    }
    finish(600)
    fake.answerContainer = (response) => answer(response, 200, { State: { Status: 'stopping' } })
    expect(await fake.api.call(call)).toEqual({ late: true })
    finish(1200)
    fake.answerContainer = () => undefined
    expect(await fake.api.call(call)).toEqual({ late: true })
    fake.answerContainer = (response) => answer(response, 200, { State: { Status: 'running' } })
    fake.answerThing = () => undefined
    await expect(fake.api.call(call)).rejects.toEqual(lost)
    fake.answerContainer = (response) => answer(response, 404, {})
    await expect(fake.api.call(call)).rejects.toEqual(lost)
  })

  it('should wait as long as an upload goes on, then for the time that was asked for', async () => {
    await using fake = await startFake()
    const upload = new PassThrough()
    const making = fake.api.call({ ...POST, upload, idleMs: 500 })
    upload.write('a')
    await expect
      .poll(() => fake.requests.filter((request) => request.includes('/exists')).length, { timeout: 10_000 })
      .toBeGreaterThan(15)
    upload.end('b')
    const ended = performance.now()
    await expect(making).rejects.toEqual(lost)
    expect(performance.now() - ended).toBeGreaterThan(400)
  })

  it('should ask one time where the store is, however many wait and however long that takes', async () => {
    await using fake = await startFake()
    fake.infoMs = 1500
    const ends = await Promise.allSettled([GET, POST, POST].map((call) => fake.api.call(call)))
    for (const end of ends) expect(end).toMatchObject({ status: 'rejected', reason: lost })
    expect(fake.requests.filter((request) => request.includes('/info'))).toHaveLength(1)
  })

  it('should wait where the store cannot be seen, but not for ever', async () => {
    await using fake = await startFake({ ...LIMITS, longestMs: 800 })
    await rm(fake.lockPath)
    const began = performance.now()
    await expect(fake.api.call(POST)).rejects.toEqual(lost)
    expect(performance.now() - began).toBeGreaterThan(700)
  })
})
