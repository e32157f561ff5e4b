import { LoopatError } from '@loopatd/protocol'
import { describe, expect, it, vi } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import type { Services } from '../../../daemon/server/services.ts'
import { frameText } from '../../harness/peer.ts'
import { loopInfo, startServer } from '../../harness/peer-server.ts'

const id = '6f9619ff-8b86-4011-b42d-00c04fc964ff'
const handshake = { protocolVersion: 1, client: { name: 'test', version: '1' } }

/** Resolves with the reason when the signal aborts. */
function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }))
}

/** A service method that ends only when it is cancelled, and tells when it began and why it ended. */
function hanging() {
  const began = deferred<void>()
  const ended = deferred<unknown>()
  const method = async (...args: unknown[]): Promise<never> => {
    const signal = args.at(-1)
    if (!(signal instanceof AbortSignal)) throw new Error('the signal comes last')
    began.resolve()
    const reason = await aborted(signal)
    ended.resolve(reason)
    throw reason
  }
  return { method, began: began.promise, ended: ended.promise }
}

describe('the handshake', () => {
  it('should answer with version, workspace and sorted methods', async () => {
    await using server = await startServer()
    await using peer = await server.peer()
    const { result } = await peer.request('initialize', handshake)
    expect(result).toMatchObject({
      protocolVersion: 1,
      server: { name: 'loopatd', version: '0.0.0' },
      workspace: 'test',
    })
    const { capabilities } = result as { capabilities: string[] }
    expect(capabilities).toEqual([...capabilities].sort())
    expect(capabilities).toContain('loop/create')
  })

  it('should be needed before anything else, and accepted once', async () => {
    await using server = await startServer()
    await using peer = await server.peer()
    expect((await peer.request('loop/list')).error?.data.name).toBe('not_initialized')
    expect((await peer.request('initialize', handshake)).result).toBeDefined()
    expect((await peer.request('initialize', handshake)).error?.data.name).toBe('invalid_params')
    expect((await peer.request('loop/list')).result).toEqual({ loops: [] })
  })

  it('should refuse another version with the versions it serves, and let the client try again', async () => {
    await using server = await startServer()
    await using peer = await server.peer()
    const { error } = await peer.request('initialize', { ...handshake, protocolVersion: 99 })
    expect(error).toMatchObject({ code: 1026, data: { name: 'protocol_unsupported', details: { supported: [1] } } })
    expect(error?.message).toContain('99')
    expect((await peer.request('initialize', handshake)).result).toBeDefined()
  })
})

describe('params', () => {
  it.each([
    ['loop/create: title must have at most 200 characters', 'loop/create', { title: 'x'.repeat(201) }],
    ['loop/create: params has the unknown key "titel"', 'loop/create', { titel: 'x' }],
    ['loop/create: repo has the unknown key "branch"', 'loop/create', { repo: { source: 'a', branch: 'b' } }],
    ['loop/create: repo.source must be a string', 'loop/create', { repo: { source: 7 } }],
    ['loop/create: repo must be an object', 'loop/create', { repo: 'x' }],
    ['loop/get: loop is missing', 'loop/get', {}],
    ['loop/get: loop is missing', 'loop/get', undefined],
    ['loop/get: loop must have at least 1 character', 'loop/get', { loop: '' }],
    ['loop/get: params must be an object, by name and not by position', 'loop/get', ['x']],
    ['loop/list: archived must be "exclude" or "include" or "only"', 'loop/list', { archived: 'no' }],
    ['loop/stop: graceSeconds must be a whole number', 'loop/stop', { loop: 'x', graceSeconds: 1.5 }],
    ['loop/stop: graceSeconds must be at most 600', 'loop/stop', { loop: 'x', graceSeconds: 601 }],
    ['idle/set: after must be at least 100', 'idle/set', { loop: 'x', after: 0 }],
    ['idle/hold: forMs must be at least 1000', 'idle/hold', { loop: 'x', forMs: -1 }],
    ['idle/acquire: reason must not contain control characters', 'idle/acquire', { loop: 'x', reason: 'a\u0007' }],
    ['loop/rename: params name or title must be given', 'loop/rename', { loop: 'x' }],
    ['exec/run: command[1] must not contain NUL', 'exec/run', { loop: 'x', command: ['a', 'b\0'] }],
    [
      'exec/run: command[1] must have at most 131071 bytes; pass more on stdin or in a file',
      'exec/run',
      { loop: 'x', command: ['a', 'é'.repeat(65_536)] },
    ],
    [
      'exec/run: command must have at most 1048576 bytes together; pass more on stdin or in a file',
      'exec/run',
      { loop: 'x', command: Array.from({ length: 10 }, () => 'x'.repeat(110_000)) },
    ],
    ['exec/run: shell must not contain NUL', 'exec/run', { loop: 'x', shell: 'a\0' }],
    [
      'exec/run: cwd must be absolute: a directory inside the loop',
      'exec/run',
      { loop: 'x', command: ['a'], cwd: 'tmp' },
    ],
    ['exec/run: env.A must not contain NUL', 'exec/run', { loop: 'x', command: ['a'], env: { A: 'b\0' } }],
    ['exec/run: timeoutMs must be at least 1', 'exec/run', { loop: 'x', command: ['a'], timeoutMs: 0 }],
    [
      'exec/run: maxOutputBytes must be at most 4194304',
      'exec/run',
      { loop: 'x', command: ['a'], maxOutputBytes: 1e9 },
    ],
    ['exec/run: command must be an array', 'exec/run', { loop: 'x', command: 'ls' }],
    ['exec/run: env.a=b must be a variable name', 'exec/run', { loop: 'x', command: ['a'], env: { 'a=b': 'c' } }],
    [`loop/list: params has the unknown key "${'x'.repeat(64)}"`, 'loop/list', { ['x'.repeat(500)]: 1 }],
  ])('should be refused by name and rule: %s', async (message, method, params) => {
    await using server = await startServer()
    await using peer = await server.initialized()
    const { error } = await peer.request(method, params)
    expect(error?.message).toBe(message)
    expect(error).toMatchObject({ code: 1015, data: { name: 'invalid_params', next: expect.any(String) } })
  })

  it('should reach the service checked and with defaults', async () => {
    const stop = vi.fn(async () => ({ loop: loopInfo(id) }))
    await using server = await startServer({ loop: { stop } })
    await using client = await server.client()
    await client.loop.stop({ loop: 'x' })
    expect(stop).toHaveBeenCalledWith({ loop: 'x', graceSeconds: 5 }, expect.any(AbortSignal))
  })
})

describe('requests', () => {
  it('should name an unknown method', async () => {
    await using server = await startServer()
    await using peer = await server.initialized()
    for (const method of ['loop/fly', 'toString', '__proto__', 'constructor']) {
      const { error } = await peer.request(method, {})
      expect(error).toMatchObject({ code: 1022, data: { name: 'method_not_found' } })
      expect(error?.message).toContain(method)
    }
  })

  it('should be answered by id, whatever the ids look like', async () => {
    await using server = await startServer()
    await using peer = await server.initialized()
    const ids = [0, -1, 1.5, 7, '7', '', ' ', 'ä€😀', '__proto__', Number.MAX_SAFE_INTEGER, 'x'.repeat(256)]
    peer.write(
      Buffer.concat(ids.map((one) => frameText(JSON.stringify({ jsonrpc: '2.0', id: one, method: 'loop/list' })))),
    )
    const answered = new Set<unknown>()
    for (const _ of ids) answered.add((await peer.next())?.id)
    expect(answered).toEqual(new Set(ids))
  })

  it('should carry errors of services with number, next step and details', async () => {
    const get = () =>
      Promise.reject(
        new LoopatError('ambiguous_loop', 'two loops begin with "abcd"', {
          next: 'Name more of it.',
          details: { ids: ['abcd1', 'abcd2'] },
          cause: new Error('secret cause'),
        }),
      )
    await using server = await startServer({ loop: { get } })
    await using peer = await server.initialized()
    expect((await peer.request('loop/get', { loop: 'abcd' })).error).toEqual({
      code: 1002,
      message: 'two loops begin with "abcd"',
      data: { name: 'ambiguous_loop', next: 'Name more of it.', details: { ids: ['abcd1', 'abcd2'] } },
    })
  })

  it('should never tell the words of an unexpected error, but log them', async () => {
    const get = () => Promise.reject(new Error('boom at /home/secret/path'))
    await using server = await startServer({ loop: { get } })
    await using peer = await server.initialized()
    const { error } = await peer.request('loop/get', { loop: 'x' })
    expect(error).toMatchObject({ code: 1014, data: { name: 'internal' } })
    expect(JSON.stringify(error)).not.toContain('secret')
    expect(server.log.find((entry) => entry.level === 'error')?.fields).toMatchObject({
      err: { message: 'boom at /home/secret/path' },
      method: 'loop/get',
    })
  })

  it.each([
    ['unavailable', 'engine_unavailable'],
    ['connection_lost', 'connection_lost'],
    ['storage_full', 'storage_failed'],
    ['failed', 'engine_failed'],
    ['wrong_state', 'engine_failed'],
  ] as const)('should map an engine error of kind %s to %s', async (kind, name) => {
    const get = () => Promise.reject(new EngineError(kind, 'podman said so'))
    await using server = await startServer({ loop: { get } })
    await using peer = await server.initialized()
    const { error } = await peer.request('loop/get', { loop: 'x' })
    expect(error).toMatchObject({ message: 'podman said so', data: { name } })
  })

  it('should report a full disk without naming files', async () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device, write '/home/me/x'"), {
      code: 'ENOSPC',
      syscall: 'write',
    })
    await using server = await startServer({ loop: { get: () => Promise.reject(full) } })
    await using peer = await server.initialized()
    const { error } = await peer.request('loop/get', { loop: 'x' })
    expect(error).toMatchObject({ data: { name: 'storage_failed' } })
    expect(error?.message).toContain('the disk is full')
    expect(error?.message).not.toContain('/home')
  })

  it('should answer with `internal` when a result breaks the contract or cannot be written', async () => {
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    const list = vi.fn(async () => ({ loops: [], extra: 1 }))
    await using server = await startServer({ loop: { list } })
    await using peer = await server.initialized()
    expect((await peer.request('loop/list')).error?.data.name).toBe('internal')
    await using unchecked = await startServer(
      { loop: { list: async () => Object.assign({ loops: [] }, cycle) } },
      { checkResults: false },
    )
    await using other = await unchecked.initialized()
    expect((await other.request('loop/list')).error?.data.name).toBe('internal')
    expect((await other.request('rpc.discover')).result).toBeDefined()
  })

  it('should be limited in number per connection', async () => {
    const slow = hanging()
    await using server = await startServer({ loop: { get: slow.method } }, { limits: { maxInFlight: 3 } })
    await using peer = await server.initialized()
    for (const one of ['a', 'b', 'c']) {
      peer.send({ jsonrpc: '2.0', id: one, method: 'loop/get', params: { loop: 'x' } })
    }
    expect((await peer.request('loop/list')).error?.data.name).toBe('too_many_requests')
    await using other = await server.initialized()
    expect((await other.request('loop/list')).result).toBeDefined()
    peer.send({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 'b' } })
    expect((await peer.answer('b')).error?.data.name).toBe('cancelled')
    expect((await peer.request('loop/list')).result).toBeDefined()
  })
})

describe('cancellation', () => {
  it('should reach the service and be answered', async () => {
    const slow = hanging()
    await using server = await startServer({ loop: { start: slow.method } })
    await using peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x' } })
    await slow.began
    peer.send({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 'r' } })
    expect((await peer.answer('r')).error).toMatchObject({ code: 1003, data: { name: 'cancelled' } })
    expect(await slow.ended).toMatchObject({ code: 'cancelled' })
  })

  it('should work on a request that is cancelled in the same breath', async () => {
    const slow = hanging()
    await using server = await startServer({ loop: { start: slow.method } })
    await using peer = await server.initialized()
    peer.write(
      Buffer.concat([
        frameText(JSON.stringify({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x' } })),
        frameText(JSON.stringify({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 'r' } })),
      ]),
    )
    expect((await peer.answer('r')).error?.data.name).toBe('cancelled')
  })

  it('should ignore ids that nobody waits for', async () => {
    await using server = await startServer()
    await using peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 'nothing' } })
    expect((await peer.request('loop/list')).result).toBeDefined()
  })

  it('should happen to what a client asked for when it goes away', async () => {
    const slow = hanging()
    await using server = await startServer({ loop: { start: slow.method } })
    const peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 1, method: 'loop/start', params: { loop: 'x' } })
    await slow.began
    await peer[Symbol.asyncDispose]()
    expect(await slow.ended).toMatchObject({ code: 'cancelled', message: 'the client went away' })
    await vi.waitFor(() => expect(server.server.connections).toBe(0))
  })
})

describe('what belongs to a connection', () => {
  it('should end with it, however it ends', async () => {
    const ended: string[] = []
    const acquire: Services['idle']['acquire'] = async (_params, client) => {
      client.onEnd(() => ended.push(client.id))
      const since = '2026-01-01T00:00:00.000Z'
      return { lease: { id: client.id, owner: 'client', reason: 'x', since, expiresAt: null } }
    }
    await using server = await startServer({ idle: { acquire } })
    const ids: string[] = []
    for (const end of ['close', 'destroy'] as const) {
      await using peer = await server.initialized()
      const { result } = await peer.request('idle/acquire', { loop: 'x', reason: 'x' })
      ids.push((result as { lease: { id: string } }).lease.id)
      if (end === 'destroy') peer.socket.destroy()
      else peer.socket.end()
      await vi.waitFor(() => expect(ended).toEqual(ids))
    }
    expect(new Set(ids).size).toBe(2)
  })
})

describe('progress', () => {
  it('should be sent with the token of the request, before its answer and never after', async () => {
    let late: (() => void) | undefined
    await using server = await startServer({
      loop: {
        start: async (_params, onProgress) => {
          for (let step = 1; step <= 200; step += 1) onProgress({ message: `step ${step}`, step, total: 200 })
          late = () => onProgress({ message: 'too late' })
          return { loop: loopInfo(id), action: 'started', reason: null }
        },
      },
    })
    await using peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x', progressToken: 'mine' } })
    const messages = []
    for (;;) {
      const message = await peer.next()
      if (message?.id === 'r') break
      messages.push(message)
    }
    expect(messages).toHaveLength(200)
    expect(messages.at(-1)).toMatchObject({
      method: '$/progress',
      params: { token: 'mine', value: { message: 'step 200', step: 200, total: 200 } },
    })
    late?.()
    expect(await peer.request('loop/list')).toMatchObject({ result: { loops: [] } })
  })

  it('should not be sent when nobody asked for it', async () => {
    await using server = await startServer({
      image: {
        build: async (_params, onProgress) => {
          onProgress({ message: 'half' })
          throw new LoopatError('image_build_failed', 'no')
        },
      },
    })
    await using peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'image/build' })
    expect(await peer.next()).toMatchObject({ id: 'r', error: { data: { name: 'image_build_failed' } } })
  })

  it('should not fill the queue of a client that does not read', async () => {
    const sent = deferred<void>()
    const message = 'x'.repeat(10_000)
    await using server = await startServer(
      {
        loop: {
          start: async (_params, onProgress, signal) => {
            for (let step = 1; step <= 2000; step += 1) {
              onProgress({ message, step })
              if (step % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
            }
            sent.resolve()
            signal.throwIfAborted()
            return { loop: loopInfo(id), action: 'started', reason: null }
          },
        },
      },
      { limits: { maxQueuedBytes: 1_000_000 } },
    )
    await using peer = await server.initialized()
    peer.socket.pause()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x', progressToken: 1 } })
    await sent.promise
    peer.socket.resume()
    let last: unknown
    for (let one = await peer.next(); one !== undefined && one.id !== 'r'; one = await peer.next()) {
      last = one.params?.value
    }
    expect(last).toMatchObject({ step: 2000 })
  })
})
