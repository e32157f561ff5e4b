import { describe, expect, it } from 'vitest'
import { Lifetime } from '../../../daemon/lib/lifetime.ts'

describe('Lifetime', () => {
  it('should end things once, in reverse order, whatever their form', async () => {
    const ended: string[] = []
    const lifetime = new Lifetime()
    lifetime.add(() => void ended.push('function'))
    lifetime.add({ [Symbol.dispose]: () => void ended.push('disposable') })
    lifetime.add({ [Symbol.asyncDispose]: async () => void ended.push('async') })
    await Promise.all([lifetime.dispose(), lifetime.dispose()])
    expect(ended).toEqual(['async', 'disposable', 'function'])
  })

  it('should end the rest when one thing fails, and say so', async () => {
    const ended: string[] = []
    const lifetime = new Lifetime()
    lifetime.add(() => void ended.push('first'))
    lifetime.add(() => Promise.reject(new Error('stuck')))
    await expect(lifetime.dispose()).rejects.toThrow(AggregateError)
    expect(ended).toEqual(['first'])
  })

  it('should end at once what is added too late', async () => {
    const lifetime = new Lifetime()
    await lifetime.dispose()
    let ended = false
    lifetime.add(() => {
      ended = true
    })
    expect(ended).toBe(true)
  })
})
