import type { LoopatClient } from '@loopatd/client'
import { LoopatError, type Progress } from '@loopatd/protocol'
import { describe, expect, it, vi } from 'vitest'
import { deferred } from '../../daemon/lib/deferred.ts'
import { loopInfo, startServer } from '../harness/peer-server.ts'

const started = { loop: loopInfo('a'), action: 'started', reason: null } as const

/** A service that ends only when it is cancelled. */
function hanging() {
  const began = deferred<void>()
  const method = (...args: unknown[]): Promise<never> => {
    began.resolve()
    const signal = args.at(-1) as AbortSignal
    return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  return { method, began: began.promise }
}

describe('LoopatClient', () => {
  it('should have a function for every method of the contract', async () => {
    await using server = await startServer()
    await using client = await server.client()
    const own = new Set(['initialize', 'rpc.discover', 'stream/open', 'event/unsubscribe'])
    for (const name of client.server.capabilities) {
      if (own.has(name)) continue
      const [feature, verb] = name.split('/') as [keyof LoopatClient, string]
      expect(client[feature], name).toHaveProperty(verb)
    }
  })

  it('should turn errors of the daemon into LoopatErrors', async () => {
    const error = new LoopatError('loop_not_found', 'there is no loop "x"', { next: 'ls', details: { ref: 'x' } })
    await using server = await startServer({ loop: { get: () => Promise.reject(error) } })
    await using client = await server.client()
    const caught = await client.loop.get({ loop: 'x' }).catch((reason: unknown) => reason)
    expect(caught).toBeInstanceOf(LoopatError)
    expect(caught).toMatchObject({
      code: 'loop_not_found',
      message: 'there is no loop "x"',
      next: 'ls',
      details: { ref: 'x' },
      exitCode: 3,
    })
    await expect(client.call('no/such')).rejects.toMatchObject({ code: 'method_not_found' })
  })

  it('should bring progress to the request that it belongs to', async () => {
    await using server = await startServer({
      loop: {
        start: async ({ loop }, onProgress) => {
          onProgress({ message: `${loop} 1` })
          await new Promise((resolve) => setImmediate(resolve))
          onProgress({ message: `${loop} 2` })
          return started
        },
      },
    })
    await using client = await server.client()
    const seen: Record<string, Progress[]> = { a: [], b: [] }
    await Promise.all(
      ['a', 'b'].map((loop) => client.loop.start({ loop }, { onProgress: (progress) => seen[loop]?.push(progress) })),
    )
    expect(seen).toEqual({
      a: [{ message: 'a 1' }, { message: 'a 2' }],
      b: [{ message: 'b 1' }, { message: 'b 2' }],
    })
    expect(await client.loop.start({ loop: 'c' })).toEqual(started)
  })

  it('should cancel by the signal, and leave other requests alone', async () => {
    const slow = hanging()
    await using server = await startServer({ loop: { start: slow.method } })
    await using client = await server.client()
    const controller = new AbortController()
    const request = client.loop.start({ loop: 'x' }, { signal: controller.signal })
    await slow.began
    controller.abort()
    await expect(request).rejects.toMatchObject({ code: 'cancelled', exitCode: 130 })
    expect(await client.loop.list()).toEqual({ loops: [] })
    await expect(client.loop.list({}, { signal: controller.signal })).rejects.toMatchObject({ code: 'cancelled' })
  })

  it('should fail everything that waits when the daemon goes away, and everything after', async () => {
    const slow = hanging()
    const server = await startServer({ loop: { start: slow.method } })
    await using client = await server.client()
    const request = client.loop.start({ loop: 'x' })
    await slow.began
    const outcome = expect(request).rejects.toMatchObject({ code: 'daemon_stopping' })
    await server[Symbol.asyncDispose]()
    await outcome
    expect(await client.closed).toMatchObject({ code: 'daemon_unreachable' })
    await expect(client.loop.list()).rejects.toMatchObject({ code: 'daemon_unreachable' })
  })

  it('should pass on why the daemon hung up', async () => {
    await using server = await startServer({}, { limits: { maxMessageBytes: 70_000 } })
    await using client = await server.client()
    const request = client.exec.run({ loop: 'x', command: ['cat'], stdin: 'x'.repeat(5_000_000) })
    await expect(request).rejects.toMatchObject({ code: 'message_too_large', next: expect.any(String) })
  })

  it('should close once, and fail what is in flight as cancelled', async () => {
    const slow = hanging()
    await using server = await startServer({ loop: { start: slow.method } })
    const client = await server.client()
    const request = expect(client.loop.start({ loop: 'x' })).rejects.toMatchObject({ code: 'cancelled' })
    await slow.began
    await Promise.all([client.close(), client.close()])
    await request
    await vi.waitFor(() => expect(server.server.connections).toBe(0))
  })
})

describe('events', () => {
  const changed = (id: string) => ({ loop: loopInfo(id), removed: false, cause: null })

  it('should be read in order, and none missed from the moment of the subscription', async () => {
    await using server = await startServer()
    await using client = await server.client()
    const events = await client.event.subscribe({ kinds: ['loop/changed'] })
    for (const id of ['a', 'b', 'c']) server.hub.publish('loop/changed', changed(id), { loopId: id })
    const seen: string[] = []
    for await (const event of events) {
      if (event.kind !== 'loop/changed') throw new Error('not asked for')
      seen.push(event.loop.id)
      if (seen.length === 3) break
    }
    expect(seen).toEqual(['a', 'b', 'c'])
    expect(await events.next()).toEqual({ value: undefined, done: true })
  })

  it('should go on where a reader was, and tell what is lost', async () => {
    await using server = await startServer()
    await using client = await server.client()
    const first = await client.event.subscribe()
    expect(first.gap).toBeNull()
    for (const id of ['a', 'b', 'c']) server.hub.publish('loop/changed', changed(id), { loopId: id })
    const { value: seen } = await first.next()
    await first.close()
    await using again = await client.event.subscribe({ since: seen?.cursor })
    expect([await again.next(), await again.next()]).toMatchObject([
      { value: { loop: { id: 'b' } } },
      { value: { loop: { id: 'c' } } },
    ])
    await using other = await client.event.subscribe({ since: '00000000:1' })
    expect(other.gap).toEqual({ missed: null, reason: 'daemon-restarted' })
    expect(other.cursor).toMatch(/:3$/)
  })

  it('should keep subscriptions apart, and end them on the daemon', async () => {
    await using server = await startServer({}, { limits: { maxSubscriptions: 2 } })
    await using client = await server.client()
    await using all = await client.event.subscribe()
    const one = await client.event.subscribe({ loop: 'b' })
    server.hub.publish('loop/changed', changed('a'), { loopId: 'a' })
    server.hub.publish('loop/changed', changed('b'), { loopId: 'b' })
    expect(await all.next()).toMatchObject({ value: { loop: { id: 'a' } } })
    expect(await one.next()).toMatchObject({ value: { kind: 'loop/changed', loop: { id: 'b' }, removed: false } })
    await expect(client.event.subscribe()).rejects.toMatchObject({ code: 'too_many_requests' })
    await one.close()
    await using again = await client.event.subscribe()
    expect(again).toBeDefined()
  })

  it('should end with an error when the connection is lost, after what had come', async () => {
    const server = await startServer()
    await using client = await server.client()
    const events = await client.event.subscribe()
    server.hub.publish('loop/changed', changed('a'))
    await client.loop.list()
    await server[Symbol.asyncDispose]()
    await client.closed
    expect(await events.next()).toMatchObject({ value: { loop: { id: 'a' } } })
    await expect(events.next()).rejects.toMatchObject({ code: 'daemon_unreachable' })
    await events.close()
    await client.close()
  })
})

describe('exec', () => {
  const end = { exitCode: 0, timedOut: false, durationMs: 5, droppedBytes: 0, linesOmitted: 0 }
  const none = { ...end, stdout: null, stderr: null }

  it('should collect', async () => {
    const result = { ...end, exitCode: 3, stdout: 'o', stderr: 'e', droppedBytes: 9 }
    const run = vi.fn(async () => result)
    await using server = await startServer({ exec: { run } })
    await using client = await server.client()
    expect(await client.exec.run({ loop: 'x', command: ['a'] })).toEqual(result)
    expect(run).toHaveBeenCalledWith(
      expect.objectContaining({ command: ['a'], encoding: 'utf8' }),
      undefined,
      expect.any(Function),
      expect.any(AbortSignal),
    )
  })

  it('should end the outputs and tell why when the command cannot be run', async () => {
    const error = new LoopatError('exec_not_found', '"x" was not found in the loop')
    await using server = await startServer({ exec: { run: () => Promise.reject(error) } })
    await using client = await server.client()
    const child = await client.exec.spawn({ loop: 'x', command: ['x'] })
    const text: unknown[] = []
    for await (const piece of child.stdout) text.push(piece)
    for await (const piece of child.stderr) text.push(piece)
    expect(text).toEqual([])
    await expect(child.exit).rejects.toMatchObject({ code: 'exec_not_found', exitCode: 127 })
  })

  it('should end the command when the process is disposed of or its signal aborts', async () => {
    const ended = vi.fn()
    await using server = await startServer({
      exec: {
        run: async (_params, _io, _onProgress, signal) => {
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
          ended()
          throw signal.reason
        },
      },
    })
    await using client = await server.client()
    {
      await using child = await client.exec.spawn({ loop: 'x', command: ['x'] })
      child.stdout.resume()
    }
    expect(ended).toHaveBeenCalledTimes(1)
    const controller = new AbortController()
    const child = await client.exec.spawn({ loop: 'x', command: ['x'] }, { signal: controller.signal })
    controller.abort()
    await expect(child.exit).rejects.toMatchObject({ code: 'cancelled' })
    expect(ended).toHaveBeenCalledTimes(2)
  })

  it('should end the outputs when the daemon dies', async () => {
    const began = deferred<void>()
    const server = await startServer({
      exec: {
        run: async (_params, io, _onProgress, signal) => {
          io?.stdout.write('half')
          began.resolve()
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
          throw signal.reason
        },
      },
    })
    await using client = await server.client()
    const child = await client.exec.spawn({ loop: 'x', command: ['x'] })
    child.stderr.resume()
    await began.promise
    let text = ''
    const reading = (async () => {
      for await (const piece of child.stdout) text += piece
    })()
    await vi.waitFor(() => expect(text).toBe('half'))
    await server[Symbol.asyncDispose]()
    await reading
    await expect(child.exit).rejects.toMatchObject({ code: 'daemon_stopping' })
  })

  it('should deliver all output although exit comes first', async () => {
    await using server = await startServer({
      exec: {
        run: async (_params, io) => {
          io?.stdout.end(Buffer.alloc(3_000_000, 'x'))
          return none
        },
      },
    })
    await using client = await server.client()
    const child = await client.exec.spawn({ loop: 'x', command: ['x'] })
    child.stderr.resume()
    let bytes = 0
    for await (const piece of child.stdout) bytes += piece.length
    expect(await child.exit).toEqual(end)
    expect(bytes).toBe(3_000_000)
  })
})
