import { describe, expect, it } from 'vitest'
import { ERRORS, EXIT, isErrorName, isLoopatError, LoopatError } from '../../protocol/error.ts'

describe('error catalogue', () => {
  const names = Object.keys(ERRORS)

  it('should be sorted by name', () => {
    expect(names).toEqual([...names].sort())
  })

  it('should give every error a number of its own outside the range JSON-RPC reserves', () => {
    const numbers = Object.values(ERRORS).map((error) => error.number)
    expect(new Set(numbers).size).toBe(numbers.length)
    for (const number of numbers) expect(number).toBeGreaterThan(0)
  })

  it('should map an error to the exit code of its row', () => {
    const error = new LoopatError('loop_not_found', 'no loop "x"')
    expect(error.exitCode).toBe(EXIT.notFound.code)
    expect(isLoopatError(error, 'loop_not_found')).toBe(true)
    expect(isLoopatError(error, 'internal')).toBe(false)
  })

  it('should not take an inherited property for a name', () => {
    expect(isErrorName('toString')).toBe(false)
    expect(isErrorName('internal')).toBe(true)
  })
})
