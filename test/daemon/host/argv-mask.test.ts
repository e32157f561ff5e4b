import { describe, expect, it } from 'vitest'
import { isMask, maskWith, USUAL_MASKS } from '../../../daemon/host/argv-mask.ts'

describe('a mask', () => {
  const mask = maskWith([...USUAL_MASKS, '-p*', '--pin *'])

  it.each<[string[], string[]]>([
    [
      ['gh', '--token=abc'],
      ['gh', '--token=***'],
    ],
    [
      ['gh', '--TOKEN=abc'],
      ['gh', '--TOKEN=***'],
    ],
    [
      ['gh', '--token', 'abc', 'x'],
      ['gh', '--token', '***', 'x'],
    ],
    [
      ['gh', '--Token', 'abc'],
      ['gh', '--Token', '***'],
    ],
    [
      ['gh', '--token'],
      ['gh', '--token'],
    ],
    [
      ['gh', '--tokens', 'abc'],
      ['gh', '--tokens', 'abc'],
    ],
    [
      ['gh', '--token', ''],
      ['gh', '--token', '***'],
    ],
    [
      ['gh', '-H', 'Authorization: Bearer abc'],
      ['gh', '-H', 'Authorization:***'],
    ],
    [
      ['gh', 'bearer', 'abc'],
      ['gh', 'bearer', '***'],
    ],
    [
      ['gh', '-psecret', '--pin', '1234'],
      ['gh', '-p***', '--pin', '***'],
    ],
    [
      ['gh', 'https://u:p@host/x'],
      ['gh', 'https://***@host/x'],
    ],
    [
      ['gh', 'x', 'y'],
      ['gh', 'x', 'y'],
    ],
    [[], []],
  ])('%j should be logged as %j', (argv, expected) => {
    expect(mask(argv)).toEqual(expected)
  })

  it.each(['--token=*', '--token *', '-p*'])('may be %j', (text) => {
    expect(isMask(text)).toBe(true)
  })

  it.each(['', '*', ' *', '--token', 'a*b*', '--token  *', '*x'])('may not be %j', (text) => {
    expect(isMask(text)).toBe(false)
  })

  it('should be found in time in whatever a loop sends', () => {
    const began = performance.now()
    mask(['gh', 'a-'.repeat(500_000), 'a://'.repeat(250_000), '@a:'.repeat(300_000)])
    expect(performance.now() - began).toBeLessThan(2_000)
  })
})
