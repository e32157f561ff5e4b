import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { KeyedMutex } from '../../../daemon/lib/keyed-mutex.ts'

describe('KeyedMutex', () => {
  it('should run work of one key in order, one at a time', async () => {
    const mutex = new KeyedMutex()
    const log: string[] = []
    const work = (name: string) => async () => {
      log.push(`+${name}`)
      await turn()
      log.push(`-${name}`)
    }
    await Promise.all(['a', 'b', 'c'].map((name) => mutex.run('key', work(name))))
    expect(log).toEqual(['+a', '-a', '+b', '-b', '+c', '-c'])
  })

  it('should not let keys wait for each other', async () => {
    const mutex = new KeyedMutex()
    let release: () => void = () => undefined
    const held = mutex.run('a', () => new Promise<void>((resolve) => (release = resolve)))
    expect(await mutex.run('b', async () => 'b')).toBe('b')
    expect(mutex.isBusy('a')).toBe(true)
    await turn()
    release()
    await held
    await turn()
    expect(mutex.isBusy('a')).toBe(false)
  })

  it('should go on after a failure', async () => {
    const mutex = new KeyedMutex()
    await expect(mutex.run('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await mutex.run('a', async () => 'yes')).toBe('yes')
  })

  it('should let a waiter give up without letting others overtake', async () => {
    const mutex = new KeyedMutex()
    let release: () => void = () => undefined
    const held = mutex.run('a', () => new Promise<void>((resolve) => (release = resolve)))
    const controller = new AbortController()
    const log: string[] = []
    const waiting = mutex.run('a', async () => void log.push('given up'), controller.signal)
    controller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    const next = mutex.run('a', async () => void log.push('next'))
    await turn()
    expect(log).toEqual([])
    release()
    await Promise.all([held, next])
    expect(log).toEqual(['next'])
  })
})
