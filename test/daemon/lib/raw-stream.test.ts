import { Socket } from 'node:net'
import { CHANNEL, frameHeader } from '@loopatd/protocol/frame'
import { describe, expect, it } from 'vitest'
import { RawStream } from '../../../daemon/lib/raw-stream.ts'

describe('RawStream', () => {
  it.each([
    [4096, false],
    [4097, true],
  ])('should be over when a control message of %i bytes is announced: %s', (length, isOver) => {
    const socket = new Socket()
    const stream = new RawStream(socket, frameHeader(CHANNEL.control, length), (value) => value)
    expect(socket.destroyed).toBe(isOver)
    stream.destroy()
  })
})
