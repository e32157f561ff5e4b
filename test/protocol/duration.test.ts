import { describe, expect, it } from 'vitest'
import { formatDuration, parseDuration } from '../../protocol/duration.ts'

describe('parseDuration', () => {
  it.each([
    ['90s', 90_000],
    ['10m', 600_000],
    ['2h', 7_200_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
  ])('should read %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  it.each(['', '0', '0m', '10', '-5m', '10x', '1.5h', ' 5m', '5 m', 'm', 'never', '5M', '9999999999s', '١m'])(
    'should refuse %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined()
    },
  )
})

describe('formatDuration', () => {
  it.each([
    [0, '0s'],
    [-5, '0s'],
    [250, '250ms'],
    [1400, '1s'],
    [90_000, '1m30s'],
    [1_800_000, '30m'],
    [90_061_000, '1d1h1m1s'],
  ])('should write %d ms as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
  })
})
