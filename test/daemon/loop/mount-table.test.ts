import { describe, expect, it } from 'vitest'
import { parseMountInfo, relationOf, spotOf, spotsShownBy } from '../../../daemon/loop/mount-table.ts'

const table = parseMountInfo(
  [
    '1 0 8:1 / / rw - ext4 /dev/sda1 rw',
    '2 1 0:5 / /dev rw - devtmpfs udev rw',
    '3 1 8:2 / /home rw - ext4 /dev/sda2 rw',
    '4 1 8:2 /ada/.loopat /mnt/with\\040space rw shared:1 - ext4 /dev/sda2 rw',
    '5 1 8:2 /ada/.loopat/loops/x /mnt/part rw - ext4 /dev/sda2 rw',
    '6 1 0:9 / /over rw - tmpfs tmpfs rw',
    '7 1 0:10 / /over rw - tmpfs tmpfs rw',
    'nonsense',
    '',
  ].join('\n'),
)

describe('the mounts of the host', () => {
  it('should be read, and what is no line passed over', () => {
    expect(table).toHaveLength(7)
    expect(table[3]).toEqual({ device: '8:2', root: '/ada/.loopat', target: '/mnt/with space' })
  })

  it.each([
    ['/etc/passwd', '8:1', '/etc/passwd'],
    ['/', '8:1', '/'],
    ['/home', '8:2', '/'],
    ['/home/ada/x', '8:2', '/ada/x'],
    ['/homes', '8:1', '/homes'],
    ['/mnt/with space/log', '8:2', '/ada/.loopat/log'],
    ['/over/x', '0:10', '/x'],
  ])('should tell where %s is', (path, device, inside) => {
    expect(spotOf(path, table)).toEqual({ device, path: inside })
  })

  it('should tell all that a mount would show', () => {
    expect(spotsShownBy('/mnt', table)).toEqual([
      { device: '8:1', path: '/mnt' },
      { device: '8:2', path: '/ada/.loopat' },
      { device: '8:2', path: '/ada/.loopat/loops/x' },
    ])
  })

  it.each([
    ['/a', '/a', 'is'],
    ['/a', '/a/b', 'holds'],
    ['/', '/a', 'holds'],
    ['/a/b', '/a', 'within'],
    ['/a', '/', 'within'],
    ['/ab', '/a', undefined],
    ['/a', '/ab', undefined],
  ] as const)('should tell how %s lies to %s', (path, place, relation) => {
    expect(relationOf(path, place)).toBe(relation)
  })
})
