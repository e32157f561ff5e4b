import { describe, expect, it } from 'vitest'
import { abortable, anySignal } from '../../../daemon/lib/abort.ts'

describe('abortable', () => {
  it('should pass a result and a failure on', async () => {
    const { signal } = new AbortController()
    expect(await abortable(Promise.resolve(1), signal)).toBe(1)
    await expect(abortable(Promise.reject(new Error('no')), signal)).rejects.toThrow('no')
    expect(await abortable(Promise.resolve(1))).toBe(1)
  })

  it('should stop waiting with the reason, and not mind a later failure', async () => {
    const controller = new AbortController()
    let fail: (error: Error) => void = () => undefined
    const work = new Promise<void>((_resolve, reject) => {
      fail = reject
    })
    const waiting = abortable(work, controller.signal)
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await expect(abortable(work, controller.signal)).rejects.toThrow('enough')
    // An unobserved rejection would fail the run.
    fail(new Error('too late'))
    await new Promise(setImmediate)
  })
})

describe('anySignal', () => {
  it('should leave out what is missing', () => {
    const { signal } = new AbortController()
    expect(anySignal(undefined, undefined)).toBeUndefined()
    expect(anySignal(undefined, signal)).toBe(signal)
    expect(anySignal(signal, AbortSignal.abort('x'))?.reason).toBe('x')
  })
})
