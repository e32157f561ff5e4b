import { describe, expect, it } from 'vitest'
import { ComplaintFilter } from '../../../../daemon/engine/podman/complaint.ts'

const COMPLAINT = 'Error: crun: executable file `x` not found in $PATH\n'
const TRAILER = 'Error: read unixpacket @->/proc/self/fd/15/attach: read: connection reset by peer\n'

describe('ComplaintFilter', () => {
  it('should hold back a complaint in the beginning, and what follows it', () => {
    const filter = new ComplaintFilter()
    expect(pass(filter, COMPLAINT, true)).toBe('')
    expect(pass(filter, TRAILER, true)).toBe('')
    expect(filter.text).toBe(COMPLAINT + TRAILER)
  })

  it('should let everything go, in order, when the command says more', () => {
    const filter = new ComplaintFilter()
    expect(pass(filter, COMPLAINT, true)).toBe('')
    expect(pass(filter, 'output', false)).toBe(`${COMPLAINT}output`)
    expect(pass(filter, COMPLAINT, true)).toBe(COMPLAINT)
    expect(filter.text).toBe('')
  })

  it('should hold back the trailer at any time, until something follows', () => {
    const filter = new ComplaintFilter()
    expect(pass(filter, 'problem\n', true)).toBe('problem\n')
    expect(pass(filter, TRAILER, true)).toBe('')
    expect(pass(filter, 'output', false)).toBe(`${TRAILER}output`)
    expect(pass(filter, TRAILER, true)).toBe('')
    expect(filter.text).toBe(TRAILER)
  })

  it('should hold only little', () => {
    const filter = new ComplaintFilter()
    expect(pass(filter, COMPLAINT, true)).toBe('')
    expect(pass(filter, 'x'.repeat(20_000), true)).toHaveLength(COMPLAINT.length + 20_000)
  })
})

function pass(filter: ComplaintFilter, text: string, canComplain: boolean): string {
  const bytes = Buffer.from(text)
  const { released, isHeld } = filter.take(bytes, canComplain)
  return isHeld ? released.toString() : Buffer.concat([released, bytes]).toString()
}
