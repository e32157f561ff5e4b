import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { TestHost } from '../host.ts'
import { loopInfo } from '../loop.ts'
import { type StubCall, type StubDaemon, startStub } from '../stub-daemon.ts'

describe('loopctl events', () => {
  let stub: StubDaemon
  let subscribed: Promise<StubCall>

  beforeEach(async () => {
    stub = await startStub()
    subscribed = new Promise((resolve) => {
      stub.on('event/subscribe', (_params, call) => {
        setTimeout(() => resolve(call), 20)
        return { subscription: 's' }
      })
    })
    stub.on('event/unsubscribe', () => ({}))
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  it('should print what happens until it is interrupted', async () => {
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('events', '--kind', 'loop/changed', '--loop', 'L')
    const call = await subscribed
    call.notify('loop/changed', { subscription: 's', loop: loopInfo({ state: 'stopped' }), removed: false })
    call.notify('loop/changed', { subscription: 's', loop: loopInfo(), removed: true })
    await vi.waitFor(() => expect(host.stdout.text.split('\n')).toHaveLength(3))
    host.signal('SIGINT')
    expect(await result).toMatchObject({ code: 130 })
    expect(host.stdout.text).toBe(
      '2026-01-02T03:04:05.000Z  loop fix-login stopped\n2026-01-02T03:04:05.000Z  loop fix-login removed\n',
    )
    expect(stub.calls[1]?.params).toEqual({ kinds: ['loop/changed'], loop: 'L' })
  })

  it('should print one JSON object per line', async () => {
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('events', '--json')
    const call = await subscribed
    const engine = { state: 'down', reason: 'gone', socket: null, owned: false, version: null }
    call.notify('daemon/changed', { subscription: 's', engine })
    await vi.waitFor(() => expect(host.stdout.text).not.toBe(''))
    expect(JSON.parse(host.stdout.text)).toEqual({ kind: 'daemon/changed', engine })
    call.disconnect()
    expect((await result).code).toBe(6)
  })
})
