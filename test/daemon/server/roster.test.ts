import { describe, expect, it } from 'vitest'
import { Roster } from '../../../daemon/server/roster.ts'
import { Random } from '../../harness/random.ts'

describe('Roster', () => {
  it('should name those who came and did not leave, whoever leaves when', () => {
    const random = new Random(1)
    const roster = new Roster<number>()
    const here = new Map<number, () => void>()
    for (let step = 0; step < 2000; step += 1) {
      if (random.below(2) === 0 || here.size === 0) {
        here.set(step, roster.add(step))
      } else {
        const one = random.pick([...here.keys()])
        here.get(one)?.()
        here.delete(one)
      }
      expect(roster.size).toBe(here.size)
    }
    expect([...roster].sort((a, b) => a - b)).toEqual([...here.keys()])
  })

  it('should let nobody leave twice, and tell equal ones apart', () => {
    const roster = new Roster<string>()
    const leave = roster.add('a')
    roster.add('a')
    leave()
    leave()
    expect([...roster]).toEqual(['a'])
  })

  it('should go on with those who were there when somebody leaves meanwhile', () => {
    const roster = new Roster<number>()
    const leaves = [1, 2, 3].map((item) => roster.add(item))
    const seen: number[] = []
    for (const item of roster) {
      seen.push(item)
      for (const leave of leaves) leave()
    }
    expect(seen).toEqual([1, 2, 3])
  })
})
