import { describe, expect, it } from 'vitest'
import { formatRecord, holdLeft, type IdleHold, idleSince, parseRecord } from '../../../daemon/idle/idle-record.ts'

const activity = {
  at: '2030-01-01T00:00:00.000Z',
  what: 'exec: make',
  boot: 'b1',
  awakeMs: 1000,
  startedAt: 'run 1',
  isHeld: false,
}
const hold: IdleHold = {
  id: 'h',
  reason: 'x',
  since: '2030-01-01T00:00:00.000Z',
  forMs: 60_000,
  until: '2030-01-01T00:01:00.000Z',
  boot: 'b1',
  untilAwakeMs: 61_000,
}
const at = (monotonicMs: number, boot = 'b1', date = '2030-01-01T00:00:30.000Z') => ({
  monotonicMs,
  boot,
  date: new Date(date),
})

describe('a record', () => {
  it('should be read as it was written', () => {
    const record = { after: 'never' as const, activity, holds: [hold] }
    expect(parseRecord(formatRecord(record))).toEqual(record)
    expect(parseRecord(formatRecord({}))).toEqual({})
  })

  it.each([
    '',
    '{',
    'null',
    '{"version":2}',
    '{"version":1,"after":0}',
    '{"version":1,"holds":[{}]}',
    '{"version":1,"x":1}',
  ])('should be none when it is not understood: %s', (text) => {
    expect(parseRecord(text)).toBeUndefined()
  })
})

describe('idleSince', () => {
  it.each([
    ['the last activity in the same run of container and machine', activity, 'run 1', at(5000), 1000],
    ['now when nothing is known', undefined, 'run 1', at(5000), 5000],
    ['now when it was in use', { ...activity, isHeld: true }, 'run 1', at(5000), 5000],
    ['now in another run of the container', activity, 'run 2', at(5000), 5000],
    ['now in another run of the machine', activity, 'run 1', at(5000, 'b2'), 5000],
    ['never in the future', activity, 'run 1', at(10), 10],
  ] as const)('should be %s', (_what, known, run, moment, expected) => {
    expect(idleSince(known, run, moment)).toBe(expected)
  })
})

describe('holdLeft', () => {
  it.each([
    ['time awake within one run of the machine', at(31_000), 30_000],
    ['the same when the wall clock jumps ahead', at(31_000, 'b1', '2031-01-01T00:00:00.000Z'), 30_000],
    ['the same when it jumps back', at(31_000, 'b1', '2029-01-01T00:00:00.000Z'), 30_000],
    ['by the wall clock after a reboot', at(5, 'b2'), 30_000],
    ['no more than it was made for, however the clock was set', at(5, 'b2', '2020-01-01T00:00:00.000Z'), 60_000],
  ] as const)('should count %s', (_what, moment, left) => {
    expect(holdLeft(hold, moment)).toBe(left)
  })

  it('should be over after a reboot when the wall clock says so', () => {
    expect(holdLeft(hold, at(5, 'b2', '2030-01-01T00:02:00.000Z'))).toBeLessThanOrEqual(0)
  })
})
