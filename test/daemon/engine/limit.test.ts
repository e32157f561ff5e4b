import { describe, expect, it } from 'vitest'
import { checkLimits, hasLimits } from '../../../daemon/engine/limit.ts'

describe('limits', () => {
  it('should be none when nothing is limited', () => {
    expect(hasLimits({})).toBe(false)
    expect(hasLimits({ memoryBytes: undefined })).toBe(false)
    expect(hasLimits({ pids: 20 })).toBe(true)
    checkLimits({}, [])
  })

  it('should be refused where no controller enforces them, and name it', () => {
    const limits = { memoryBytes: 1, cpus: 1, pids: 1 }
    checkLimits(limits, ['pids', 'memory', 'cpu'])
    expect(() => checkLimits(limits, ['memory'])).toThrow(/controller "cpu", "pids"/)
    expect(() => checkLimits({ pids: 1 }, ['cpu'])).toThrow(expect.objectContaining({ kind: 'limit_unsupported' }))
  })
})
