import { describe, expect, it } from 'vitest'
import { StreamInput } from '../../../daemon/lib/stream-input.ts'
import { Random } from '../../harness/random.ts'

const MAX = 100_000

function open() {
  const told = { consumed: 0, room: 0 }
  const input = new StreamInput({
    maxHeldBytes: MAX,
    onConsumed: (bytes) => {
      told.consumed += bytes
    },
    onRoom: () => {
      told.room += 1
    },
  })
  return { input, told }
}

async function piecesOf({ stream }: StreamInput): Promise<Buffer[]> {
  const pieces: Buffer[] = []
  for await (const piece of stream) pieces.push(piece)
  return pieces
}

describe('StreamInput', () => {
  it('should hold few pieces, however small they come', async () => {
    const { input, told } = open()
    const wanted = Buffer.from(Array.from({ length: MAX + 1 }, (_, index) => index % 251))
    const taken = Array.from(wanted, (_, index) => input.take(wanted.subarray(index, index + 1)))
    expect(taken.indexOf(false)).toBe(MAX)
    input.end()
    expect(told).toEqual({ consumed: 0, room: 0 })
    // The stream joins what it holds itself when it is read as a whole.
    const pieces: Buffer[] = []
    input.stream.push = (piece: Buffer | null) => {
      if (piece !== null) pieces.push(piece)
      return true
    }
    input.stream.read(0)
    expect(pieces.length).toBeLessThan(10)
    expect(Buffer.concat(pieces).equals(wanted)).toBe(true)
    expect(told).toEqual({ consumed: MAX + 1, room: 1 })
  })

  it('should pass on what it is given, in order, whenever it is read', async () => {
    const random = Random.fromEnvironment('STREAM_SEED')
    for (let round = 0; round < 50; round += 1) {
      const { input, told } = open()
      const given: Buffer[] = []
      const reading = random.below(2) === 0 ? piecesOf(input) : undefined
      for (let count = random.below(200); count > 0; count -= 1) {
        const piece = Buffer.alloc(1 + random.below(random.pick([3, 1000, 40_000])), random.below(256))
        given.push(piece)
        input.take(piece)
        if (random.below(20) === 0) await new Promise(setImmediate)
      }
      input.end()
      const got = Buffer.concat(await (reading ?? piecesOf(input)))
      expect(got.equals(Buffer.concat(given))).toBe(true)
      expect(told.consumed).toBe(got.length)
    }
  })

  it('should drop what nobody reads any more', async () => {
    const { input, told } = open()
    input.take(Buffer.alloc(3))
    input.stream.destroy()
    input.take(Buffer.alloc(4))
    expect(told.consumed).toBe(7)
  })
})
