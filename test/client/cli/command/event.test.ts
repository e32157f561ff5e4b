import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { approvalInfo } from '../grant.ts'
import { TestHost } from '../host.ts'
import { loopInfo } from '../loop.ts'
import { type StubCall, type StubDaemon, startStub } from '../stub-daemon.ts'

describe('loopctl events', () => {
  let stub: StubDaemon
  let subscribed: Promise<StubCall>
  let gap: object | null

  beforeEach(async () => {
    stub = await startStub()
    gap = null
    subscribed = new Promise((resolve) => {
      stub.on('event/subscribe', (_params, call) => {
        setTimeout(() => resolve(call), 20)
        return { subscription: 's', cursor: '0123abcd:7', gap }
      })
    })
    stub.on('event/unsubscribe', () => ({}))
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  it('should print what happens until it is interrupted', async () => {
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('events', '--kind', 'loop/changed', '--loop', 'L')
    const call = await subscribed
    const cause = { by: 'idle', text: 'idle for 30m' }
    call.notify('loop/changed', { subscription: 's', loop: loopInfo({ state: 'stopped' }), removed: false, cause })
    call.notify('loop/changed', { subscription: 's', loop: loopInfo(), removed: true, cause: null })
    await vi.waitFor(() => expect(host.stdout.text.split('\n')).toHaveLength(3))
    host.signal('SIGINT')
    expect(await result).toMatchObject({ code: 130 })
    expect(host.stdout.text).toBe(
      '2026-01-02T03:04:05.000Z  loop fix-login stopped (idle for 30m)\n2026-01-02T03:04:05.000Z  loop fix-login removed\n',
    )
    expect(stub.calls[1]?.params).toEqual({ kinds: ['loop/changed'], loop: 'L' })
  })

  it('should tell what asks for an approval, how to answer, and what came of it', async () => {
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('events', '--kind', 'host/approvalRequested', 'host/approvalSettled')
    const call = await subscribed
    const approval = approvalInfo()
    call.notify('host/approvalRequested', { subscription: 's', approval })
    const full = { ...approval, fullAccess: true, command: 'git \x1b[2J' }
    call.notify('host/approvalRequested', { subscription: 's', approval: full })
    call.notify('host/approvalSettled', { subscription: 's', approval, outcome: 'expired' })
    await vi.waitFor(() => expect(host.stdout.text.split('\n')).toHaveLength(4))
    host.signal('SIGINT')
    await result
    const how = '(loopctl host approve 4567cdef)'
    expect(host.stdout.text.replaceAll('2026-01-02T03:04:05.000Z  ', '').split('\n')).toEqual([
      `loop fix-login asks to run on the host ${how}: gh pr create --title 'a b'`,
      `loop fix-login asks to run on the host, with full access ${how}: git \\x1b[2J`,
      "approval 4567cdef of loop fix-login expired: gh pr create --title 'a b'",
      '',
    ])
    expect(stub.calls[1]?.params).toEqual({ kinds: ['host/approvalRequested', 'host/approvalSettled'] })
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

  it('should go on where the reader was, and tell what is missing', async () => {
    gap = { missed: 12, reason: 'too-old' }
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('events', '--since', '0123abcd:5')
    ;(await subscribed).disconnect()
    expect((await result).stderr).toContain('Events are missing (12): the daemon does not keep them for so long\n')
    expect(stub.calls[1]?.params).toEqual({ since: '0123abcd:5' })
  })

  it('should tell programs of a gap in its place', async () => {
    gap = { missed: null, reason: 'daemon-restarted' }
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('events', '--since', '17', '--json')
    ;(await subscribed).disconnect()
    expect(JSON.parse((await result).stdout)).toEqual({ kind: 'gap', missed: null, reason: 'daemon-restarted' })
  })

  it.each(['x', '-1', '1.5', 'abc:1', '0123abcd:'])('should refuse %s', async (since) => {
    const { code } = await new TestHost({ socket: stub.socket }).run('events', `--since=${since}`)
    expect({ code, calls: stub.calls }).toEqual({ code: 2, calls: [] })
  })
})
