import { describe, expect, it } from 'vitest'
import { chooseWindow, DEFAULT_WINDOW_MS, dueOf, explain, retryPause } from '../../../daemon/idle/idle-decision.ts'

const facts = { isRunning: true, leases: 0, window: 1000, idleSince: 500, notBefore: Number.NEGATIVE_INFINITY } as const

describe('chooseWindow', () => {
  it.each([
    [
      { environment: 1, loop: 2, config: 3 },
      { window: 1, from: 'environment' },
    ],
    [
      { environment: undefined, loop: 'never', config: 3 },
      { window: 'never', from: 'loop' },
    ],
    [
      { environment: undefined, loop: undefined, config: 'never' },
      { window: 'never', from: 'config' },
    ],
    [
      { environment: undefined, loop: undefined, config: undefined },
      { window: DEFAULT_WINDOW_MS, from: 'default' },
    ],
  ] as const)('should take the first of environment, loop, configuration and default: %j', (sources, expected) => {
    expect(chooseWindow(sources)).toEqual(expected)
  })

  it('should be half an hour when nobody says otherwise', () => {
    expect(DEFAULT_WINDOW_MS).toBe(30 * 60_000)
  })
})

describe('dueOf', () => {
  it.each([
    ['after its window', facts, 1500],
    ['not while it does not run', { ...facts, isRunning: false }, undefined],
    ['not while a lease is held', { ...facts, leases: 1 }, undefined],
    ['not when it is never to', { ...facts, window: 'never' }, undefined],
    ['not before a stop that failed is tried again', { ...facts, notBefore: 9000 }, 9000],
    ['after its window, however early a retry would be', { ...facts, notBefore: 1 }, 1500],
  ] as const)('should be %s', (_when, given, due) => {
    expect(dueOf(given)).toBe(due)
  })
})

describe('retryPause', () => {
  it('should grow, but not for ever', () => {
    expect([1, 2, 3, 7, 50].map(retryPause)).toEqual([5_000, 10_000, 20_000, 300_000, 300_000])
  })
})

describe('explain', () => {
  const now = { monotonicMs: 1000, date: new Date('2030-01-01T00:00:00.000Z') }

  it.each([
    [facts, { action: 'sleep', at: '2030-01-01T00:00:00.500Z', because: 'nobody uses it; it sleeps in 500ms' }],
    [
      { ...facts, isRunning: false },
      { action: 'asleep', at: null, because: 'it does not run' },
    ],
    [
      { ...facts, leases: 1 },
      { action: 'stay-awake', at: null, because: 'there is a lease on it' },
    ],
    [
      { ...facts, leases: 2 },
      { action: 'stay-awake', at: null, because: 'there are 2 leases on it' },
    ],
    [
      { ...facts, window: 'never' },
      { action: 'stay-awake', at: null, because: 'it is set never to sleep' },
    ],
  ] as const)('should say what happens next: %j', (given, expected) => {
    expect(explain(given, now)).toEqual(expected)
  })
})
