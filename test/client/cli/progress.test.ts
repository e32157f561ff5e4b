import { describe, expect, it } from 'vitest'
import { StatusLine } from '../../../client/cli/progress.ts'
import { Capture } from './host.ts'

describe('progress', () => {
  it('should be plain lines in a pipe, each once', () => {
    const target = new Capture()
    const line = new StatusLine(target, {})
    line.update({ message: 'pulling', step: 1, total: 3 })
    line.update({ message: 'pulling', step: 1, total: 3 })
    line.update({ message: 'building\x1b', step: 2 })
    line.clear()
    expect(target.text).toBe('[1/3] pulling\n[2] building\\x1b\n')
  })

  it('should be one line that is rewritten on a terminal', () => {
    const target = new Capture(true)
    const line = new StatusLine(target, {})
    line.update({ message: 'one' })
    line.update({ message: 'two' })
    line.clear()
    line.clear()
    expect(target.text).toBe('\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K')
  })

  it('should never be wider than the terminal', () => {
    const target = new Capture(true)
    new StatusLine(target, {}).update({ message: '世'.repeat(200) })
    expect(target.text).toBe(`\r\x1b[K${'世'.repeat(39)}`)
  })

  it('should rewrite nothing on a terminal that cannot', () => {
    const target = new Capture(true)
    new StatusLine(target, { TERM: 'dumb' }).update({ message: 'one' })
    expect(target.text).toBe('one\n')
  })
})
