import { describe, expect, it } from 'vitest'
import { LimitNote } from '../../../daemon/host/limit-note.ts'
import { ManualClock } from '../idle/manual-clock.ts'
import { turns } from './kit.ts'

describe('LimitNote', () => {
  it('should note many at once, and miss none', async () => {
    const clock = new ManualClock()
    const noted: number[] = []
    const note = new LimitNote(clock, (count) => noted.push(count))
    for (let count = 0; count < 1000; count += 1) note.add()
    expect(noted).toEqual([])
    expect(clock.sleeping).toBe(1)
    clock.advance(5_000)
    await turns()
    expect(noted).toEqual([1000])
    note.add()
    note.add()
    note.flush()
    expect(noted).toEqual([1000, 2])
    note.add()
    clock.advance(5_000)
    await turns()
    note.flush()
    expect(noted).toEqual([1000, 2, 1])
  })
})
