import { describe, expect, it } from 'vitest'
import { type SessionPlace, SessionSlots } from '../../../daemon/host/session-slots.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { turns } from './kit.ts'

const never = new AbortController().signal

function open(limits: { maxSessions?: number; maxPerMinute?: number } = {}) {
  const clock = new ManualClock()
  const slots = new SessionSlots({ maxSessions: 2, maxPerMinute: 60, ...limits }, clock)
  const taken: string[] = []
  const places = new Map<string, SessionPlace>()
  const take = (name: string, signal = never) =>
    slots.take(signal).then((place) => {
      taken.push(place === undefined ? `${name} gave up` : name)
      if (place !== undefined) places.set(name, place)
    })
  return { clock, slots, taken, places, take }
}

describe('places', () => {
  it('should be given in the order of the calls', async () => {
    const { taken, places, take } = open()
    const all = ['a', 'b', 'c', 'd', 'e'].map((name) => take(name))
    await turns()
    expect(taken).toEqual(['a', 'b'])
    places.get('b')?.release()
    await turns()
    expect(taken).toEqual(['a', 'b', 'c'])
    places.get('a')?.release()
    places.get('c')?.release()
    await Promise.all(all)
    expect(taken).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  it('should be given back once', async () => {
    const { slots, taken, places, take } = open({ maxSessions: 1 })
    await take('a')
    places.get('a')?.release()
    places.get('a')?.release()
    await take('b')
    void take('c')
    await turns()
    expect(taken).toEqual(['a', 'b'])
    {
      using _place = places.get('b')
    }
    await turns()
    expect(taken).toEqual(['a', 'b', 'c'])
    expect(await slots.take(AbortSignal.abort())).toBeUndefined()
  })

  it('should not be given to who has given up', async () => {
    const { taken, places, take } = open({ maxSessions: 1 })
    const caller = new AbortController()
    void take('a')
    void take('b', caller.signal)
    void take('c')
    await turns()
    caller.abort()
    await turns()
    expect(taken).toEqual(['a', 'b gave up'])
    places.get('a')?.release()
    await turns()
    expect(taken).toEqual(['a', 'b gave up', 'c'])
    places.get('c')?.release()
    await take('d')
    expect(taken.at(-1)).toBe('d')
  })

  it('should stay with who is gone after it was given one', async () => {
    const { taken, places, take } = open({ maxSessions: 1 })
    const caller = new AbortController()
    await take('a')
    void take('b', caller.signal)
    places.get('a')?.release()
    caller.abort()
    await turns()
    expect(taken).toEqual(['a', 'b'])
    places.get('b')?.release()
    await take('c')
    expect(taken).toEqual(['a', 'b', 'c'])
  })

  it('should not be waited for by any number', async () => {
    const { slots, taken, take } = open({ maxSessions: 1 })
    for (let count = 0; count < 100; count += 1) void take(String(count))
    await turns()
    expect(taken.filter((name) => name.endsWith('gave up'))).toHaveLength(100 - 1 - 64)
    expect(await slots.take(never)).toBeUndefined()
  })
})

describe('the rate of callers', () => {
  const admitted = (slots: SessionSlots, calls: number) =>
    Array.from({ length: calls }, () => slots.admit()).filter(Boolean).length

  it('should be bounded, and refill with time', () => {
    const { clock, slots } = open({ maxPerMinute: 60 })
    expect(admitted(slots, 100)).toBe(60)
    clock.advance(999)
    expect(admitted(slots, 5)).toBe(0)
    clock.advance(1)
    expect(admitted(slots, 5)).toBe(1)
    clock.advance(10_000)
    expect(admitted(slots, 100)).toBe(10)
    clock.advance(3_600_000)
    expect(admitted(slots, 100)).toBe(60)
  })

  it('should not gain by a clock that is set', () => {
    const { clock, slots } = open({ maxPerMinute: 60 })
    expect(admitted(slots, 60)).toBe(60)
    clock.jump(3_600_000)
    expect(admitted(slots, 1)).toBe(0)
    clock.jump(-7_200_000)
    clock.advance(1000)
    expect(admitted(slots, 2)).toBe(1)
  })
})
