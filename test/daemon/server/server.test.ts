import { existsSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { loopInfo, startServer } from '../../harness/peer-server.ts'

const answer = { loop: loopInfo('a'), action: 'none', reason: null } as const

describe('closing the server', () => {
  it('should wait for requests in flight, answer them, and take no new ones', async () => {
    const began = deferred<void>()
    const go = deferred<void>()
    await using server = await startServer({
      loop: {
        start: async () => {
          began.resolve()
          await go.promise
          return answer
        },
      },
    })
    await using peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x' } })
    await began.promise
    const closing = server.server.close(10_000)
    expect((await peer.request('loop/list')).error?.data.name).toBe('daemon_stopping')
    expect(existsSync(server.path)).toBe(false)
    go.resolve()
    expect((await peer.answer('r')).result).toEqual(answer)
    await closing
    await peer.closed()
    expect(server.server.connections).toBe(0)
  })

  it('should cancel what is not done at the deadline, and tell why', async () => {
    const began = deferred<void>()
    const cleaned = vi.fn()
    await using server = await startServer({
      loop: {
        start: async (_params, _onProgress, signal) => {
          began.resolve()
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
          await new Promise((resolve) => setTimeout(resolve, 20))
          cleaned()
          throw signal.reason
        },
      },
    })
    await using peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x' } })
    await began.promise
    const closing = server.server.close(20)
    expect((await peer.answer('r')).error?.data.name).toBe('daemon_stopping')
    expect(cleaned).toHaveBeenCalled()
    await closing
  })

  it('should wait for work of a client that went away to be cleaned up', async () => {
    const began = deferred<void>()
    const cleaned = vi.fn()
    await using server = await startServer({
      loop: {
        start: async (_params, _onProgress, signal) => {
          began.resolve()
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
          await new Promise((resolve) => setTimeout(resolve, 100))
          cleaned()
          throw signal.reason
        },
      },
    })
    const peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 'r', method: 'loop/start', params: { loop: 'x' } })
    await began.promise
    await peer[Symbol.asyncDispose]()
    await vi.waitFor(() => expect(server.server.connections).toBe(0))
    expect(cleaned).not.toHaveBeenCalled()
    await server.server.close(5000)
    expect(cleaned).toHaveBeenCalled()
  })

  it('should end connections that say nothing, that are not sniffed yet, and those that subscribe', async () => {
    await using server = await startServer()
    await using silent = await server.peer()
    await using idle = await server.initialized()
    await using subscriber = await server.initialized()
    await subscriber.request('event/subscribe')
    await server.server.close(1000)
    await Promise.all([silent.closed(), idle.closed(), subscriber.closed()])
  })

  it('should be the same close for everybody who asks', async () => {
    await using server = await startServer()
    await Promise.all([server.server.close(100), server.server.close(0)])
  })
})

describe('rpc.discover', () => {
  it('should describe every method that is served', async () => {
    await using server = await startServer()
    await using client = await server.client()
    const document = await client.discover()
    const methods = document.methods as { name: string }[]
    expect(methods.map(({ name }) => name)).toEqual(client.server.capabilities)
  })
})
