import { describe, expect, it } from 'vitest'
import { compare, figure } from './figure.ts'

describe('figure', () => {
  it('should sum samples up, whatever their order', () => {
    expect(figure('a', [5, 1, 3])).toEqual({ label: 'a', best: 1, median: 3, p95: 5, worst: 5, samples: 3 })
  })

  it('should take the middle of the two in the middle', () => {
    expect(figure('a', [4, 1, 3, 10]).median).toBe(3.5)
  })

  it('should leave rare outliers out of the 95th percentile', () => {
    const samples = Array.from({ length: 100 }, (_, index) => index + 1)
    expect(figure('a', samples)).toMatchObject({ median: 50.5, p95: 95, worst: 100 })
  })

  it('should know when more is better', () => {
    expect(figure('a', [5, 1, 3], 'higher')).toMatchObject({ best: 5, median: 3, p95: 1, worst: 1 })
  })

  it('should refuse to sum up nothing', () => {
    expect(() => figure('a', [])).toThrow(RangeError)
  })
})

describe('compare', () => {
  it('should give ratio and difference', () => {
    expect(compare(figure('a', [6]), figure('b', [4]))).toMatchObject({ label: 'b', ratio: 1.5, difference: 2 })
  })

  it('should give no ratio to nothing', () => {
    expect(compare(figure('a', [6]), figure('b', [0]))).toMatchObject({ ratio: null, difference: 6 })
  })
})
