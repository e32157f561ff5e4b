import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Timetable } from '../../../daemon/idle/timetable.ts'
import { Random } from '../../harness/random.ts'
import { ManualClock } from './manual-clock.ts'

describe('Timetable', () => {
  it('should tell each key once, in the order of their times, with one timer', async () => {
    const clock = new ManualClock()
    const told: string[] = []
    const table = new Timetable(clock, (key) => told.push(key))
    table.set('b', 20)
    table.set('c', 30)
    table.set('a', 10)
    await turn()
    expect(clock.sleeping).toBe(1)
    clock.advance(9)
    await turn()
    expect(told).toEqual([])
    clock.advance(1)
    await turn()
    expect(told).toEqual(['a'])
    clock.advance(1000)
    await turn()
    expect(told).toEqual(['a', 'b', 'c'])
    expect({ size: table.size, sleeping: clock.sleeping }).toEqual({ size: 0, sleeping: 0 })
  })

  it('should have a key wait for its latest time only', async () => {
    const clock = new ManualClock()
    const told: [string, number][] = []
    const table = new Timetable(clock, (key) => told.push([key, clock.monotonicMs()]))
    table.set('later', 10)
    table.set('later', 50)
    table.set('sooner', 50)
    table.set('sooner', 20)
    table.set('never', 30)
    table.delete('never')
    for (let ms = 0; ms < 60; ms += 1) {
      clock.advance(1)
      await turn()
    }
    expect(told).toEqual([
      ['sooner', 20],
      ['later', 50],
    ])
  })

  it('should tell of what is over already, but not within the call', async () => {
    const clock = new ManualClock()
    const told: string[] = []
    const table = new Timetable(clock, (key) => told.push(key))
    clock.advance(100)
    table.set('a', 5)
    expect(told).toEqual([])
    clock.advance(0)
    await turn()
    expect(told).toEqual(['a'])
  })

  it('should wait longer than a timer of the runtime can', async () => {
    const clock = new ManualClock()
    const told: string[] = []
    const table = new Timetable(clock, (key) => told.push(key))
    table.set('a', 2 ** 32)
    for (const ms of [2 ** 30, 2 ** 30, 2 ** 30]) {
      clock.advance(ms)
      await turn()
      expect(told).toEqual([])
    }
    clock.advance(2 ** 30)
    await turn()
    expect(told).toEqual(['a'])
  })

  it('should tell of nothing after its end', async () => {
    const clock = new ManualClock()
    const told: string[] = []
    const table = new Timetable(clock, (key) => told.push(key))
    table.set('a', 5)
    table[Symbol.dispose]()
    clock.advance(10)
    await turn()
    expect({ told, sleeping: clock.sleeping }).toEqual({ told: [], sleeping: 0 })
  })

  it('should do what a plain table does, in any history', async () => {
    const random = Random.fromEnvironment('TIMETABLE_SEED')
    const clock = new ManualClock()
    const told: string[] = []
    const table = new Timetable(clock, (key) => told.push(`${key}@${clock.monotonicMs()}`))
    const model = new Map<string, number>()
    const expected: string[] = []
    const change = (key: string) => {
      const due = clock.monotonicMs() + 1 + random.below(50)
      table.set(key, due)
      model.set(key, due)
    }
    const forget = (key: string) => {
      table.delete(key)
      model.delete(key)
    }
    for (let step = 0; step < 5000; step += 1) {
      random.pick([change, forget, () => clock.advance(1), () => clock.advance(1)])(`k${random.below(40)}`)
      await turn()
      const now = clock.monotonicMs()
      const over = [...model].filter(([, due]) => due <= now)
      for (const [key] of over) model.delete(key)
      expected.push(...over.map(([key]) => `${key}@${now}`))
      expect(table.size).toBe(model.size)
    }
    expect(told.sort()).toEqual(expected.sort())
  })
})
