import { describe, expect, it, vi } from 'vitest'
import { frameText, Peer } from '../../harness/peer.ts'
import { startServer, type TestServer } from '../../harness/peer-server.ts'

/** A connection that sends something wrong must end with one error, and others must not notice. */
async function expectFarewell(server: TestServer, bytes: string | Buffer, name: string): Promise<void> {
  await using bystander = await server.initialized()
  await using peer = await server.peer()
  peer.write(bytes)
  const message = await peer.next()
  expect(message).toMatchObject({ id: null, error: { data: { name, next: expect.any(String) } } })
  expect(await peer.next()).toBeUndefined()
  expect((await bystander.request('loop/list')).result).toEqual({ loops: [] })
}

/** A service that ends only when it is cancelled. */
function untilAborted(_params: unknown, signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

const json = (value: unknown) => frameText(JSON.stringify(value))

describe('a peer that breaks the protocol', () => {
  it.each([
    ['speaks HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['sends junk', Buffer.from([0, 255, 1, 2, 3])],
    ['sends a negative length', 'Content-Length: -1\r\n\r\n{}'],
    ['sends an endless header', `Content-Type: ${'x'.repeat(5000)}`],
    ['sends no JSON', frameText('{"jsonrpc":"2.0",')],
    [
      'sends bytes that are not UTF-8',
      Buffer.concat([Buffer.from('Content-Length: 3\r\n\r\n"'), Buffer.from([0xff, 0x22])]),
    ],
    ['sends null', frameText('null')],
    ['sends a batch', json([{ jsonrpc: '2.0', id: 1, method: 'loop/list' }])],
    ['sends another version of JSON-RPC', json({ id: 1, method: 'loop/list' })],
    ['sends a null id', json({ jsonrpc: '2.0', id: null, method: 'loop/list' })],
    ['sends an object as id', json({ jsonrpc: '2.0', id: {}, method: 'loop/list' })],
    ['sends a very long id', json({ jsonrpc: '2.0', id: 'x'.repeat(300), method: 'loop/list' })],
    ['sends a response', json({ jsonrpc: '2.0', id: 1, result: {} })],
    ['sends text as params', json({ jsonrpc: '2.0', id: 1, method: 'loop/list', params: 'x' })],
    ['cancels without an id', json({ jsonrpc: '2.0', method: '$/cancelRequest' })],
    [
      'nests too deeply',
      frameText(`{"jsonrpc":"2.0","id":1,"method":"loop/get","params":${'{"a":'.repeat(64)}1${'}'.repeat(64)}}`),
    ],
    ['nests without end', frameText('['.repeat(1_000_000))],
    ['cancels null', json({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: null } })],
  ])('should be told and cut off when it %s', async (_what, bytes) => {
    await using server = await startServer()
    await expectFarewell(server, bytes, 'protocol_error')
  })

  it('should be told and cut off when its message is too large, before it has sent it', async () => {
    await using server = await startServer({}, { limits: { maxMessageBytes: 1000 } })
    await expectFarewell(server, 'Content-Length: 1001\r\n\r\n', 'message_too_large')
  })

  it('should still be heard by a peer that keeps on sending', async () => {
    await using server = await startServer({}, { limits: { maxMessageBytes: 1000 } })
    await expectFarewell(
      server,
      Buffer.concat([Buffer.from('Content-Length: 9000000\r\n\r\n'), Buffer.alloc(9_000_000)]),
      'message_too_large',
    )
  })

  it('should be cut off when a message does not get complete', async () => {
    await using server = await startServer({}, { limits: { frameMs: 50 } })
    await using peer = await server.initialized()
    peer.write('Content-Length: 10\r\n\r\n{')
    expect(await peer.next()).toMatchObject({ id: null, error: { data: { name: 'protocol_error' } } })
    expect(await peer.next()).toBeUndefined()
  })

  it('should not be cut off between two messages', async () => {
    await using server = await startServer({}, { limits: { frameMs: 200, firstBytesMs: 200 } })
    await using peer = await server.initialized()
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect((await peer.request('loop/list')).result).toBeDefined()
  })

  it('should be cut off when it says nothing at first', async () => {
    await using server = await startServer({}, { limits: { firstBytesMs: 50 } })
    await using peer = await server.peer()
    await peer.closed()
  })

  it('should be cut off when an id is used twice at once', async () => {
    await using server = await startServer({ loop: { get: untilAborted } })
    await using peer = await server.initialized()
    const request = json({ jsonrpc: '2.0', id: 5, method: 'loop/get', params: { loop: 'x' } })
    peer.write(Buffer.concat([request, request]))
    expect(await peer.next()).toMatchObject({ id: null, error: { data: { name: 'protocol_error' } } })
    await peer.closed()
  })

  it('should be served when it nests as deeply as it may, or has brackets in texts', async () => {
    await using server = await startServer()
    await using peer = await server.initialized()
    const deep = `${'['.repeat(61)}"${'['.repeat(100)}\\"${'{'.repeat(100)}"${']'.repeat(61)}`
    peer.write(frameText(`{"jsonrpc":"2.0","id":"d","method":"loop/get","params":{"loop":${deep}}}`))
    expect((await peer.answer('d')).error?.data.name).toBe('invalid_params')
    expect((await peer.request('loop/list')).result).toBeDefined()
  })

  it('should have what it asked for cancelled', async () => {
    let signal: AbortSignal | undefined
    await using server = await startServer({
      loop: {
        start: (_params, _onProgress, own) => {
          signal = own
          return untilAborted(_params, own)
        },
      },
    })
    await using peer = await server.initialized()
    peer.write(
      Buffer.concat([json({ jsonrpc: '2.0', id: 1, method: 'loop/start', params: { loop: 'x' } }), Buffer.from('x')]),
    )
    await peer.closed()
    expect(signal?.aborted).toBe(true)
  })
})

describe('a peer that sends mutated messages', () => {
  /** Numbers that look random and are the same on every run. */
  function generator(seed: number): (below: number) => number {
    let state = seed
    return (below) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
  }

  it('should never harm others', async () => {
    await using server = await startServer({}, { limits: { frameMs: 20, firstBytesMs: 500 } })
    await using bystander = await server.initialized()
    const hello = {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: 1, client: { name: 'x', version: '1' } },
    }
    const whole = Buffer.concat([
      json(hello),
      json({ jsonrpc: '2.0', id: 2, method: 'loop/get', params: { loop: 'abc' } }),
    ])
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = generator(seed)
      const bytes = Buffer.from(whole)
      for (let count = 1 + random(4); count > 0; count -= 1) bytes[random(bytes.length)] = random(256)
      await using peer = await server.peer()
      peer.write(bytes.subarray(0, random(2) === 0 ? bytes.length : random(bytes.length)))
      // Either it is answered, or cut off; never left hanging for longer than the limits.
      await peer.next()
    }
    expect((await bystander.request('loop/list')).result).toEqual({ loops: [] })
    expect(server.log.filter(({ level }) => level === 'error')).toEqual([])
  }, 60_000)
})

describe('a peer that takes too much', () => {
  it('should not keep others waiting while it floods', async () => {
    await using server = await startServer()
    await using flood = await server.initialized()
    await using other = await server.initialized()
    flood.write(
      Buffer.concat(
        Array.from({ length: 20_000 }, (_, id) => json({ jsonrpc: '2.0', id: `f${id}`, method: 'loop/list' })),
      ),
    )
    let answered = 0
    const flooded = (async () => {
      while (answered < 20_000 && (await flood.next()) !== undefined) answered += 1
    })()
    for (let round = 0; round < 5; round += 1) expect((await other.request('loop/list')).result).toBeDefined()
    // The others were served in the midst of the flood, not after it.
    expect(answered).toBeLessThan(20_000)
    await flooded
    expect(answered).toBe(20_000)
  })

  it('should be cut off when it never reads, and not cost more than its queue', async () => {
    await using server = await startServer(
      { loop: { list: async () => ({ loops: [], padding: 'x'.repeat(100_000) }) as { loops: [] } } },
      { limits: { maxQueuedBytes: 500_000 }, checkResults: false },
    )
    await using peer = await server.initialized()
    await using other = await server.initialized()
    peer.socket.pause()
    for (let id = 0; id < 200; id += 1) peer.send({ jsonrpc: '2.0', id: `x${id}`, method: 'loop/list' })
    await vi.waitFor(() => expect(server.log).toContainEqual(expect.objectContaining({ level: 'warn' })))
    await vi.waitFor(() => expect(server.server.connections).toBe(1))
    expect((await other.request('loop/list')).result).toBeDefined()
  })

  it('should be turned away with a reason when there are too many connections', async () => {
    await using server = await startServer({}, { limits: { maxConnections: 2 } })
    await using first = await server.initialized()
    await using _second = await server.initialized()
    await using third = await server.peer()
    expect(await third.next()).toMatchObject({ id: null, error: { data: { name: 'too_many_requests' } } })
    await third.closed()
    expect((await first.request('loop/list')).result).toBeDefined()
    await first[Symbol.asyncDispose]()
    await vi.waitFor(async () => {
      await using again = await Peer.initialized(server.path)
      expect((await again.request('loop/list')).result).toBeDefined()
    })
  })
})
