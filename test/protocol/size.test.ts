import { describe, expect, it } from 'vitest'
import { parseSize } from '../../protocol/size.ts'

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['100', 100],
    ['64k', 65_536],
    ['512m', 536_870_912],
    ['1.5g', 1_610_612_736],
    ['1T', 1_099_511_627_776],
    ['2MiB', 2_097_152],
    ['2kb', 2048],
    ['10b', 10],
  ])('should read %s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  it.each(['', 'k', '-1', '1,5g', '1x', '1 g', '0x10', '1e3', '.5g', ' 1', '1\n'])('should refuse %j', (text) => {
    expect(parseSize(text)).toBeUndefined()
  })
})
