import { CHANNEL, encodeFrame, type Frame, FrameDecoder, frameHeader, MAX_FRAME_BYTES } from '@loopatd/protocol/frame'
import { describe, expect, it } from 'vitest'

/** Numbers that look random and are the same on every run. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function randomFrames(random: (below: number) => number): Frame[] {
  const channels = Object.values(CHANNEL)
  return Array.from({ length: 1 + random(20) }, () => {
    const payload = Buffer.alloc(random(4) === 0 ? 0 : random(300))
    for (let index = 0; index < payload.length; index += 1) payload[index] = random(256)
    return { channel: channels[random(channels.length)] ?? 0, payload }
  })
}

function decode(bytes: Buffer, nextLength: () => number): { frames: Frame[]; decoder: FrameDecoder } {
  const decoder = new FrameDecoder()
  const frames: Frame[] = []
  for (let start = 0; start < bytes.length; ) {
    const end = Math.min(bytes.length, start + nextLength())
    frames.push(...decoder.push(bytes.subarray(start, end)))
    start = end
  }
  return { frames, decoder }
}

/** Joins what follows each other on a channel: of data, only the order and the end matter. */
function joined(frames: readonly Frame[]): Frame[] {
  const all: Frame[] = []
  for (const { channel, payload } of frames) {
    const last = all.at(-1)
    const goesOn = last?.channel === channel && channel !== CHANNEL.control && payload.length > 0
    if (goesOn && last.payload.length > 0)
      all.splice(-1, 1, { channel, payload: Buffer.concat([last.payload, payload]) })
    else all.push({ channel, payload })
  }
  return all
}

describe('frames', () => {
  it('should come out as they went in, however the bytes are split', () => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const random = generator(seed)
      const frames = randomFrames(random)
      const bytes = Buffer.concat(frames.map(({ channel, payload }) => encodeFrame(channel, payload)))
      const most = 1 + random(40)
      const { frames: decoded, decoder } = decode(bytes, () => 1 + random(most))
      expect(joined(decoded), `seed ${seed}`).toEqual(joined(frames))
      expect(decoder.atBoundary).toBe(true)
    }
  })

  it('should be cut out of one large piece without recursion', () => {
    const one = encodeFrame(CHANNEL.stdout, Buffer.from('x'))
    const { frames } = decode(Buffer.concat(Array.from({ length: 50_000 }, () => one)), () => Number.MAX_SAFE_INTEGER)
    expect(frames).toHaveLength(50_000)
  })

  it('should be known to be incomplete', () => {
    const decoder = new FrameDecoder()
    const bytes = encodeFrame(CHANNEL.stdin, Buffer.from('abc'))
    for (const length of [0, 3, 5, 7]) {
      const { decoder: cut, frames } = decode(bytes.subarray(0, length), () => 2)
      expect(Buffer.concat(frames.map(({ payload }) => payload)).toString()).toBe(
        'abc'.slice(0, Math.max(0, length - 5)),
      )
      expect(cut.atBoundary).toBe(length === 0)
    }
    expect(decoder.push(bytes)).toHaveLength(1)
  })

  it('should have a header of channel and big-endian length', () => {
    expect([...frameHeader(CHANNEL.control, 0x01_02_03)]).toEqual([3, 0, 1, 2, 3])
    expect([...encodeFrame(CHANNEL.stderr, Buffer.alloc(0))]).toEqual([2, 0, 0, 0, 0])
  })

  it('should take the largest payload and refuse one byte more, before it has come', () => {
    const decoder = new FrameDecoder()
    const [frame] = decoder.push(encodeFrame(CHANNEL.stdout, Buffer.alloc(MAX_FRAME_BYTES)))
    expect(frame?.payload).toHaveLength(MAX_FRAME_BYTES)
    expect(() => decoder.push(frameHeader(CHANNEL.stdout, MAX_FRAME_BYTES + 1))).toThrow(RangeError)
  })

  it('should be refused when a control message is too large, before it has come', () => {
    const decoder = new FrameDecoder(10)
    expect(decoder.push(encodeFrame(CHANNEL.control, Buffer.alloc(10)))).toHaveLength(1)
    expect(decoder.push(encodeFrame(CHANNEL.stdout, Buffer.alloc(11)))).toHaveLength(1)
    expect(() => decoder.push(frameHeader(CHANNEL.control, 11))).toThrow(RangeError)
  })

  it('should keep a copy of what is incomplete, not what it came in', () => {
    const decoder = new FrameDecoder()
    const bytes = encodeFrame(CHANNEL.control, Buffer.from('message'))
    const pieces = Array.from(bytes, (byte) => Buffer.from([byte]))
    const frames = pieces.flatMap((piece) => {
      const found = decoder.push(piece)
      piece.fill(0)
      return found
    })
    expect(frames.map(({ payload }) => payload.toString())).toEqual(['message'])
  })

  it.each([4, 100, 255])('should be refused on the unknown channel %i', (channel) => {
    expect(() => new FrameDecoder().push(Buffer.from([channel, 0, 0, 0, 0]))).toThrow(RangeError)
  })
})
