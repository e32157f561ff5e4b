import { setImmediate as turn } from 'node:timers/promises'
import { LOST_MS, PING_MS } from '@loopatd/protocol'
import { describe, expect, it } from 'vitest'
import { deferred } from '../../../daemon/lib/deferred.ts'
import type { Services } from '../../../daemon/server/services.ts'
import type { Peer } from '../../harness/peer.ts'
import { startServer, type TestServer } from '../../harness/peer-server.ts'
import { ManualClock } from '../idle/manual-clock.ts'

const LOOKS = LOST_MS / PING_MS

const PING = { jsonrpc: '2.0', id: 'ping', method: 'client/ping' }

interface Bed extends AsyncDisposable {
  readonly server: TestServer
  /** Lets the server look at its clients so many times. */
  look(times: number): Promise<void>
  /** Lets time pass in one piece. */
  pass(ms: number): Promise<void>
  /** Has a command run for a client. */
  run(peer: Peer, id?: string): Promise<void>
  /** Resolves with the reason when the command is given up. */
  readonly ended: Promise<unknown>
}

/** A server whose commands run until they are given up. */
async function startBed(): Promise<Bed> {
  const clock = new ManualClock()
  const began = deferred<void>()
  const ended = deferred<unknown>()
  const exec: Services['exec']['run'] = (_params, _io, _onProgress, signal) =>
    new Promise((_resolve, reject) => {
      began.resolve()
      signal.addEventListener('abort', () => {
        ended.resolve(signal.reason)
        reject(signal.reason)
      })
    })
  const server = await startServer({ exec: { run: exec } }, { clock })
  const pass = async (ms: number) => {
    clock.advance(ms)
    // What was sent arrives.
    for (let turns = 0; turns < 5; turns += 1) await turn()
  }
  const look = async (times: number) => {
    for (let count = 0; count < times; count += 1) await pass(PING_MS)
  }
  const run = async (peer: Peer, id = 'r') => {
    peer.send({ jsonrpc: '2.0', id, method: 'exec/run', params: { loop: 'x', command: ['x'] } })
    await began.promise
  }
  return { server, look, pass, run, ended: ended.promise, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

describe('a client for which a command runs', () => {
  it('should be asked whether it is there, and lose the command when it gives no sign of life', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.run(peer)
    await bed.look(1)
    expect(await peer.next()).toEqual(PING)
    await bed.look(LOOKS)
    const message = 'the client gave no sign of life for 60 seconds'
    expect(await bed.ended).toMatchObject({ code: 'cancelled', message })
    // It is asked one time, and told why it ends, should it go on later.
    expect(await peer.next()).toMatchObject({ id: null, error: { message, data: { name: 'cancelled' } } })
    await peer.closed()
  })

  it('should keep it for as long as it answers', async () => {
    await using bed = await startBed()
    await using client = await bed.server.client()
    const command = client.exec.run({ loop: 'x', command: ['x'] })
    await bed.look(5 * LOOKS)
    await client.close()
    await expect(command).rejects.toMatchObject({ message: 'the client was closed' })
    expect(await bed.ended).toMatchObject({ message: 'the client went away' })
  })

  it.each([
    ['an answer', { jsonrpc: '2.0', id: 'ping', result: {} }],
    ['an error', { jsonrpc: '2.0', id: 'ping', error: { code: -32601, message: 'no such method' } }],
  ])('should be there when it sends %s', async (_what, answer) => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.run(peer)
    for (let count = 0; count < 3; count += 1) {
      await bed.look(LOOKS - 2)
      expect(await peer.next()).toEqual(PING)
      peer.send(answer)
    }
  })

  it('should be there when it sends something else', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.run(peer)
    for (let count = 0; count < 3; count += 1) {
      await bed.look(LOOKS - 2)
      expect(await peer.request('loop/list')).toMatchObject({ result: { loops: [] } })
    }
  })

  it('should not be missed while the machine or the daemon stood still', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.run(peer)
    for (let count = 0; count < LOOKS - 2; count += 1) await bed.pass(LOST_MS)
    expect(await peer.request('loop/list')).toMatchObject({ result: { loops: [] } })
  })

  it('should not be asked, and keep it, while it says that it is away', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.run(peer)
    await peer.request('presence/set', { away: true })
    await bed.look(3 * LOOKS)
    // The next thing that it is sent is this answer.
    peer.send({ jsonrpc: '2.0', id: 'back', method: 'presence/set', params: { away: false } })
    expect(await peer.next()).toEqual({ jsonrpc: '2.0', id: 'back', result: {} })
    await bed.look(1)
    expect(await peer.next()).toEqual(PING)
    await bed.look(LOOKS)
    expect(await bed.ended).toMatchObject({ code: 'cancelled' })
  })
})

describe('the question whether a client is there', () => {
  it('should not be put to one for which no command runs', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.look(3 * LOOKS)
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/list' })
    expect(await peer.next()).toMatchObject({ id: 'r', result: { loops: [] } })
  })

  it('should take no answer when it was not put', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'ping', result: {} })
    expect(await peer.next()).toMatchObject({ id: null, error: { data: { name: 'protocol_error' } } })
    await peer.closed()
  })

  it('should leave the ids of the client alone', async () => {
    await using bed = await startBed()
    await using peer = await bed.server.initialized()
    await bed.run(peer, 'ping')
    await bed.look(1)
    expect(await peer.next()).toEqual(PING)
    await bed.run(peer, 'ping')
    expect((await peer.next())?.error?.message).toContain('the id of another one')
  })
})
