import { describe, expect, it } from 'vitest'
import { BuildQueue } from '../../../../daemon/engine/podman/build-queue.ts'
import { deferred } from '../../../../daemon/lib/deferred.ts'

describe('BuildQueue', () => {
  it('should run one after another and tell each its place', async () => {
    const queue = new BuildQueue()
    const first = deferred<string>()
    const messages: string[] = []
    const order: string[] = []
    const run = (name: string, work: () => Promise<string>) =>
      queue.run(
        () => {
          order.push(name)
          return work()
        },
        ({ message }) => messages.push(`${name}: ${message}`),
      )
    const one = run('one', () => first.promise)
    const two = run('two', async () => {
      throw new Error('two failed')
    })
    const three = run('three', async () => 'three')
    await Promise.resolve()
    expect(order).toEqual(['one'])
    first.resolve('one')
    expect(await one).toBe('one')
    await expect(two).rejects.toThrow('two failed')
    expect(await three).toBe('three')
    expect(order).toEqual(['one', 'two', 'three'])
    expect(messages).toEqual([
      'two: Waiting for 1 other build',
      'three: Waiting for 2 other builds',
      'three: Waiting for 1 other build',
    ])
  })

  it('should let who gives up leave the queue', async () => {
    const queue = new BuildQueue()
    const first = deferred<void>()
    const abort = new AbortController()
    const one = queue.run(() => first.promise, ignore)
    const two = queue.run(async () => 'two', ignore, abort.signal)
    const three = queue.run(async () => 'three', ignore)
    abort.abort(new Error('enough'))
    await expect(two).rejects.toThrow('enough')
    first.resolve()
    await one
    expect(await three).toBe('three')
    expect(await queue.run(async () => 'four', ignore)).toBe('four')
  })
})

function ignore(): void {
  // These tests look at the order.
}
