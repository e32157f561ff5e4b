import { describe, expect, it } from 'vitest'
import { holdsLock } from '../../../../daemon/engine/podman/store-lock.ts'

const LOCKS = `1: FLOCK  ADVISORY  WRITE 812 fe:00:1747200 0 EOF
2: POSIX  ADVISORY  WRITE 14326 fe:00:1778852 0 EOF
2: -> POSIX  ADVISORY  READ 14400 fe:00:1778852 0 EOF
3: OFDLCK ADVISORY  READ -1 00:1f:99 0 EOF
4: POSIX  ADVISORY  WRITE 14326 fe:00:5 0 EOF
4: -> POSIX  ADVISORY  WRITE 14401 fe:00:6 0 EOF
`

describe('holdsLock', () => {
  it('should find the locks of all kinds that somebody has', () => {
    for (const inode of [1747200, 1778852, 99, 5]) expect(holdsLock(LOCKS, inode)).toBe(true)
  })

  it('should not take another file, or one that somebody only waits for', () => {
    for (const inode of [6, 852, 0, 1778853]) expect(holdsLock(LOCKS, inode)).toBe(false)
    expect(holdsLock('', 5)).toBe(false)
  })
})
