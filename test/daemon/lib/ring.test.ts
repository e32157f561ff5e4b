import { describe, expect, it } from 'vitest'
import { Prefix } from '../../../daemon/lib/prefix.ts'
import { Ring } from '../../../daemon/lib/ring.ts'
import { Random } from '../../harness/random.ts'

describe('Ring and Prefix', () => {
  it('should hold the last and the first bytes of what they are given', () => {
    const random = Random.fromEnvironment('LOOPAT_RING_SEED')
    for (let round = 0; round < 300; round += 1) {
      const capacity = random.below(40)
      const [ring, prefix] = [new Ring(capacity), new Prefix(capacity)]
      let all = Buffer.alloc(0)
      for (let push = 0; push < 20; push += 1) {
        const bytes = Buffer.from(Array.from({ length: random.below(random.pick([3, 60])) }, () => random.below(4)))
        const excess = ring.excess(bytes.length)
        expect(excess).toBe(Math.max(0, Math.min(all.length, capacity) + bytes.length - capacity))
        expect(ring.lastIndexOf(1, excess)).toBe(
          all
            .subarray(-ring.length || all.length)
            .subarray(0, excess)
            .lastIndexOf(1),
        )
        ring.push(bytes)
        const rest = prefix.push(bytes)
        expect(rest.equals(bytes.subarray(Math.max(0, capacity - all.length)))).toBe(true)
        all = Buffer.concat([all, bytes])
        expect(ring.read().equals(all.subarray(Math.max(0, all.length - capacity)))).toBe(true)
        expect(prefix.bytes.equals(all.subarray(0, capacity))).toBe(true)
      }
    }
  })
})
