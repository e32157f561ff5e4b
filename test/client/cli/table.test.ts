import { describe, expect, it } from 'vitest'
import { table } from '../../../client/cli/table.ts'

describe('a table', () => {
  it('should align its columns and leave no blanks at the end of lines', async () => {
    expect(
      await table(
        ['NAME', 'STATE'],
        [
          ['a', 'running'],
          ['longer', ''],
        ],
        false,
      ),
    ).toBe('NAME    STATE\na       running\nlonger\n')
  })

  it('should count the cells of wide characters', async () => {
    expect(
      await table(
        [],
        [
          ['世界', 'x'],
          ['abcd', 'y'],
        ],
        false,
      ),
    ).toBe('世界  x\nabcd  y\n')
  })

  it('should not let a cell break out of its line', async () => {
    expect(await table([], [['a\nb\x1b[31m', 'x']], false)).toBe('a\\x0ab\\x1b[31m  x\n')
  })

  it('should align by what is seen, not by the codes of colours', async () => {
    const text = await table(
      [],
      [
        [{ text: 'a', colour: 'red' }, 'x'],
        ['bc', 'y'],
      ],
      true,
    )
    expect(text).toBe('\x1b[31ma\x1b[39m   x\nbc  y\n')
  })

  it('should write no colour when none is wanted', async () => {
    expect(await table(['A'], [[{ text: 'a', colour: 'red' }]], false)).toBe('A\na\n')
  })
})
