import { describe, expect, it, vi } from 'vitest'
import { deferred } from '../../../daemon/lib/deferred.ts'
import { EventHub } from '../../../daemon/server/event-hub.ts'
import { EventLog } from '../../../daemon/server/event-log.ts'
import { loopInfo, startServer } from '../../harness/peer-server.ts'

const all = { kinds: undefined, loopId: undefined }
const changed = (id: string) => ({ loop: loopInfo(id), removed: false, cause: null })
const cursorOf = (params: object) => ('cursor' in params ? String(params.cursor) : '')
const paths = { directory: '', workdir: '', home: '' }
const recreation = { due: null, last: null }
const engine = { state: 'down', reason: 'gone', socket: null, owned: false, version: null } as const

describe('EventHub', () => {
  it('should bring events to those who want them, with the id of their subscription', () => {
    const hub = new EventHub()
    const everything = vi.fn()
    const onlyLoops = vi.fn()
    const onlyOne = vi.fn()
    const { id, begin } = hub.subscribe(all, everything)
    begin()
    hub.subscribe({ ...all, kinds: ['loop/changed'] }, onlyLoops).begin()
    hub.subscribe({ ...all, loopId: 'a' }, onlyOne).begin()
    hub.publish('loop/changed', changed('a'), { loopId: 'a' })
    hub.publish('loop/changed', changed('b'), { loopId: 'b' })
    hub.publish('daemon/changed', { engine })
    expect(everything).toHaveBeenCalledTimes(3)
    expect(everything).toHaveBeenLastCalledWith('daemon/changed', {
      subscription: id,
      cursor: expect.stringMatching(/^[0-9a-f]{8}:3$/),
      engine,
    })
    expect(onlyLoops).toHaveBeenCalledTimes(2)
    expect(onlyOne).toHaveBeenCalledTimes(1)
  })

  it('should bring nothing after the end, also when that comes from within an event', () => {
    const hub = new EventHub()
    const listener = vi.fn(() => first.dispose())
    const first = hub.subscribe(all, listener)
    first.begin()
    hub.publish('loop/changed', changed('a'))
    hub.publish('loop/changed', changed('a'))
    first.dispose()
    expect(listener).toHaveBeenCalledTimes(1)
  })

  it('should tell what was missed, then what waited, then what happens', () => {
    const hub = new EventHub(new EventLog('0123abcd'))
    for (const id of ['a', 'b', 'a']) hub.publish('loop/changed', changed(id), { loopId: id })
    const seen: string[] = []
    const subscription = hub.subscribe({ ...all, loopId: 'a' }, (_kind, params) => seen.push(cursorOf(params)), '1')
    expect(subscription).toMatchObject({ cursor: '0123abcd:3', gap: null })
    for (const id of ['b', 'a']) hub.publish('loop/changed', changed(id), { loopId: id })
    expect(seen).toEqual([])
    subscription.begin()
    hub.publish('loop/changed', changed('a'), { loopId: 'a' })
    subscription.begin()
    expect(seen).toEqual(['0123abcd:3', '0123abcd:5', '0123abcd:6'])
  })

  it('should tell nothing when it ended before it began', () => {
    const hub = new EventHub()
    const listener = vi.fn()
    hub.publish('loop/changed', changed('a'))
    const subscription = hub.subscribe(all, listener, '0')
    subscription.dispose()
    subscription.begin()
    expect(listener).not.toHaveBeenCalled()
  })
})

describe('event/subscribe', () => {
  it('should answer first, then replay what came after the last event that was seen', async () => {
    await using server = await startServer()
    await using peer = await server.initialized()
    for (const id of ['a', 'b', 'c']) server.hub.publish('loop/changed', changed(id), { loopId: id })
    const { result } = await peer.request('event/subscribe', { since: '1' })
    const { cursor } = result as { cursor: string }
    expect(result).toMatchObject({ cursor: expect.stringMatching(/:3$/), gap: null })
    server.hub.publish('loop/changed', changed('d'), { loopId: 'd' })
    for (const id of ['b', 'c', 'd']) expect(await peer.next()).toMatchObject({ params: { loop: { id } } })
    const again = await peer.request('event/subscribe', { since: cursor, loop: 'nobody' })
    expect(again.result).toMatchObject({ cursor: expect.stringMatching(/:4$/), gap: null })
  })

  it('should tell of the gap when the daemon was restarted', async () => {
    await using server = await startServer()
    await using peer = await server.initialized()
    const { result } = await peer.request('event/subscribe', { since: '00000000:17' })
    expect(result).toMatchObject({ gap: { missed: null, reason: 'daemon-restarted' } })
    const { error } = await peer.request('event/subscribe', { since: 'yesterday' })
    expect(error?.message).toBe('event/subscribe: since must be a cursor, or the number of an event')
  })

  it('should resolve the loop, filter, and end', async () => {
    const get = vi.fn(async () => ({
      loop: loopInfo('a-full'),
      container: { name: 'c', id: null },
      recreation,
      leases: [],
      paths,
      metadata: null,
    }))
    await using server = await startServer({ loop: { get } })
    await using peer = await server.initialized()
    const { result } = await peer.request('event/subscribe', { kinds: ['loop/changed'], loop: 'a' })
    const { subscription } = result as { subscription: string }
    server.hub.publish('loop/changed', changed('other'), { loopId: 'other' })
    server.hub.publish('loop/changed', changed('a-full'), { loopId: 'a-full' })
    expect(await peer.next()).toMatchObject({
      method: 'loop/changed',
      params: { subscription, loop: { id: 'a-full' }, removed: false },
    })
    await peer.request('event/unsubscribe', { subscription: 'unknown' })
    await peer.request('event/unsubscribe', { subscription })
    server.hub.publish('loop/changed', changed('a-full'), { loopId: 'a-full' })
    peer.send({ jsonrpc: '2.0', id: 'last', method: 'loop/list' })
    expect(await peer.next()).toMatchObject({ id: 'last' })
  })

  it('should be limited in number and end with the connection', async () => {
    await using server = await startServer({}, { limits: { maxSubscriptions: 2 } })
    const peer = await server.initialized()
    await peer.request('event/subscribe')
    await peer.request('event/subscribe')
    expect((await peer.request('event/subscribe')).error?.data.name).toBe('too_many_requests')
    await peer[Symbol.asyncDispose]()
    await vi.waitFor(() => expect(server.server.connections).toBe(0))
    server.hub.publish('loop/changed', changed('a'))
  })

  it('should not begin for a client that went away meanwhile', async () => {
    const asked = deferred<void>()
    const go = deferred<void>()
    const get = async () => {
      asked.resolve()
      await go.promise
      return { loop: loopInfo('a'), container: { name: 'c', id: null }, recreation, leases: [], paths, metadata: null }
    }
    await using server = await startServer({ loop: { get } })
    const subscribe = vi.spyOn(server.hub, 'subscribe')
    const peer = await server.initialized()
    peer.send({ jsonrpc: '2.0', id: 1, method: 'event/subscribe', params: { loop: 'a' } })
    await asked.promise
    await peer[Symbol.asyncDispose]()
    await vi.waitFor(() => expect(server.server.connections).toBe(0))
    go.resolve()
    await server.server.close(1000)
    expect(subscribe).not.toHaveBeenCalled()
  })

  it('should cost a subscriber that does not read its connection, and nobody else', async () => {
    await using server = await startServer({}, { limits: { maxQueuedBytes: 200_000 } })
    await using slow = await server.initialized()
    await using quick = await server.initialized()
    await slow.request('event/subscribe')
    await quick.request('event/subscribe')
    slow.socket.pause()
    for (let index = 0; index < 3000; index += 1) {
      server.hub.publish('loop/changed', changed(`loop-${index}`))
      if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await vi.waitFor(() => expect(server.server.connections).toBe(1))
    for (let index = 0; index < 3000; index += 1) {
      expect(await quick.next()).toMatchObject({ params: { loop: { id: `loop-${index}` } } })
    }
  })
})
