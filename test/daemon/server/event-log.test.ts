import { describe, expect, it } from 'vitest'
import { EventLog } from '../../../daemon/server/event-log.ts'

const EPOCH = '0123abcd'

/** A log in which so many events happened. */
function log(count: number, kept = 10): EventLog {
  const made = new EventLog(EPOCH, kept)
  for (let index = 0; index < count; index += 1) made.add({ kind: 'loop/changed', params: {}, loopId: 'a' })
  return made
}

const numbers = (made: EventLog, cursor: string) => made.since(cursor).events.map(({ number }) => number)

describe('EventLog', () => {
  it('should number events from one on', () => {
    expect(log(0).cursor()).toBe(`${EPOCH}:0`)
    expect(log(3).cursor()).toBe(`${EPOCH}:3`)
  })

  it.each([
    [`${EPOCH}:0`, [1, 2, 3, 4]],
    [`${EPOCH}:2`, [3, 4]],
    ['2', [3, 4]],
    [`${EPOCH}:4`, []],
  ])('should replay what came after %s, and tell of no gap', (cursor, expected) => {
    expect(numbers(log(4), cursor)).toEqual(expected)
    expect(log(4).since(cursor).gap).toBeNull()
  })

  it('should replay the end of what is too old, and tell how many are lost', () => {
    const made = log(1000)
    expect(numbers(made, '5')).toEqual([991, 992, 993, 994, 995, 996, 997, 998, 999, 1000])
    expect(made.since('5').gap).toEqual({ missed: 985, reason: 'too-old' })
    expect(made.since('990').gap).toBeNull()
  })

  it('should replay all of this run for a cursor of another one, and tell of the gap', () => {
    expect(numbers(log(3), 'ffffffff:2')).toEqual([1, 2, 3])
    expect(log(3).since('ffffffff:2').gap).toEqual({ missed: null, reason: 'daemon-restarted' })
  })

  it('should tell that it does not know what has not happened', () => {
    expect(log(3).since(`${EPOCH}:4`)).toEqual({ events: [], gap: { missed: null, reason: 'unknown-cursor' } })
  })

  it('should never replay more than it promises to keep, and never less', () => {
    for (let count = 0; count < 60; count += 1) expect(numbers(log(count), '0')).toHaveLength(Math.min(count, 10))
  })
})
