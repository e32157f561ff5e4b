import { Socket } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { HostCaller } from '../../../daemon/host/host-caller.ts'
import { requestFrame } from './kit.ts'

const MAX_EARLY = 65_536

/** A caller that has said what it wants, and the bytes behind that. */
async function call(head = '') {
  const socket = new Socket()
  const caller = new HostCaller(socket)
  const request = caller.request()
  socket.emit('data', Buffer.concat([requestFrame({ argv: ['x'] }), Buffer.from(head)]))
  await request
  return { socket, caller }
}

describe('HostCaller', () => {
  it('should hand over what came early, of which it has a copy of its own', async () => {
    const { socket, caller } = await call('ab')
    // What a socket reads is a piece of something larger: whoever kept each byte that comes alone would keep all of that.
    const chunk = Buffer.from('cde')
    for (let index = 0; index < chunk.length; index += 1) socket.emit('data', chunk.subarray(index, index + 1))
    chunk.fill('x')
    expect(caller.handOver().head.toString()).toBe('abcde')
  })

  it('should hand over nothing when nothing came early', async () => {
    const { caller } = await call()
    expect(caller.handOver().head).toHaveLength(0)
  })

  it('should take so much early, and hang up at one byte more', async () => {
    const { socket } = await call('a')
    socket.emit('data', Buffer.alloc(MAX_EARLY - 1))
    expect(socket.destroyed).toBe(false)
    socket.emit('data', Buffer.alloc(1))
    expect(socket.destroyed).toBe(true)
  })

  it.each([
    ['went away in the middle of it', (socket: Socket) => void socket.emit('end')],
    ['is not whole after 10 s', () => void vi.advanceTimersByTime(10_000)],
  ])('should keep nothing of a request that %s', async (why, happen) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const socket = new Socket()
      const request = new HostCaller(socket).request()
      socket.emit('data', requestFrame({ argv: ['x'] }).subarray(0, 9))
      happen(socket)
      await expect(request).rejects.toThrow(why)
      expect([vi.getTimerCount(), socket.listenerCount('data')]).toEqual([0, 0])
    } finally {
      vi.useRealTimers()
    }
  })
})
