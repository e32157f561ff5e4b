import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { OutputPump } from '../../../daemon/host/output-pump.ts'
import { turns } from './kit.ts'

const all = (bytes: number) => bytes

describe('OutputPump', () => {
  it('should give up when its caller goes away', async () => {
    const [from, to] = [new PassThrough(), new PassThrough()]
    const pump = new OutputPump(from, to, all)
    to.destroy()
    await pump.ended
    expect(from.destroyed).toBe(true)
  })

  it('should give up at once when its caller went away before', async () => {
    const [from, to] = [new PassThrough(), new PassThrough()]
    to.destroy()
    await turns()
    const pump = new OutputPump(from, to, all)
    from.write('x')
    await turns()
    expect([from.destroyed, pump.waits]).toEqual([true, true])
    await pump.ended
  })
})
