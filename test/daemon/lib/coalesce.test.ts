import { describe, expect, it } from 'vitest'
import { Coalesce } from '../../../daemon/lib/coalesce.ts'

interface Operation {
  readonly report: (progress: string) => void
  readonly signal: AbortSignal
  readonly finish: (value: string) => void
  readonly fail: (error: Error) => void
}

/** A shared operation that the test drives by hand. */
function operations() {
  const begun: Operation[] = []
  const start = (report: (progress: string) => void, signal: AbortSignal) =>
    new Promise<string>((finish, fail) => {
      begun.push({ report, signal, finish, fail })
    })
  const at = (index: number): Operation => {
    const operation = begun[index]
    if (operation === undefined) throw new Error(`operation ${index} has not begun`)
    return operation
  }
  return { begun, start, at }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('Coalesce', () => {
  it('should run one operation for all callers of a key and give each the result', async () => {
    const { begun, start, at } = operations()
    const shared = new Coalesce<string, string>()
    const results = [shared.run('a', { start }), shared.run('a', { start }), shared.run('a', { start })]
    await turn()
    at(0).finish('done')
    expect(await Promise.all(results)).toEqual(['done', 'done', 'done'])
    expect(begun).toHaveLength(1)
  })

  it('should run operations of different keys side by side', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>()
    const results = [shared.run('a', { start }), shared.run('b', { start })]
    await turn()
    at(1).finish('second')
    at(0).finish('first')
    expect(await Promise.all(results)).toEqual(['first', 'second'])
  })

  it('should begin anew after the end', async () => {
    const { begun, start, at } = operations()
    const shared = new Coalesce<string, string>()
    const first = shared.run('a', { start })
    await turn()
    at(0).finish('one')
    await first
    expect(shared.isRunning('a')).toBe(false)
    const second = shared.run('a', { start })
    await turn()
    at(1).finish('two')
    expect(await second).toBe('two')
    expect(begun).toHaveLength(2)
    expect(at(0).signal.aborted).toBe(false)
  })

  it('should give a late caller all progress from the beginning, in order', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>()
    const early: string[] = []
    const late: string[] = []
    const first = shared.run('a', { start, onProgress: (line) => early.push(line) })
    await turn()
    at(0).report('1')
    at(0).report('2')
    const second = shared.run('a', { start, onProgress: (line) => late.push(line) })
    at(0).report('3')
    at(0).finish('done')
    await Promise.all([first, second])
    expect(early).toEqual(['1', '2', '3'])
    expect(late).toEqual(['1', '2', '3'])
  })

  it('should keep only the latest progress when there is too much', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>(2)
    const late: string[] = []
    const first = shared.run('a', { start })
    await turn()
    for (const line of ['1', '2', '3']) at(0).report(line)
    const second = shared.run('a', { start, onProgress: (line) => late.push(line) })
    at(0).finish('done')
    await Promise.all([first, second])
    expect(late).toEqual(['2', '3'])
  })

  it('should give every caller the failure', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>()
    const results = [shared.run('a', { start }), shared.run('a', { start })]
    await turn()
    at(0).fail(new Error('broken'))
    const settled = await Promise.allSettled(results)
    expect(settled.map((result) => result.status === 'rejected' && String(result.reason))).toEqual([
      'Error: broken',
      'Error: broken',
    ])
  })

  it('should let one caller leave without disturbing the others', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>()
    const leaving = new AbortController()
    const heard: string[] = []
    const left = shared.run('a', { start, onProgress: (line) => heard.push(line) }, leaving.signal)
    const stays = shared.run('a', { start })
    await turn()
    leaving.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    at(0).report('later')
    expect(heard).toEqual([])
    expect(at(0).signal.aborted).toBe(false)
    at(0).finish('done')
    expect(await stays).toBe('done')
  })

  it('should cancel the operation when the last caller leaves', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>()
    const controllers = [new AbortController(), new AbortController()]
    const results = controllers.map((controller) => shared.run('a', { start }, controller.signal))
    const settled = Promise.allSettled(results)
    await turn()
    controllers[0]?.abort(new Error('first'))
    await turn()
    expect(at(0).signal.aborted).toBe(false)
    controllers[1]?.abort(new Error('second'))
    await turn()
    expect(at(0).signal.aborted).toBe(true)
    expect(at(0).signal.reason).toEqual(new Error('second'))
    at(0).fail(new Error('cleaned up'))
    expect((await settled).map((result) => result.status)).toEqual(['rejected', 'rejected'])
    await shared.settled()
  })

  it('should not let a new caller join a cancelled operation, but begin after its clean-up', async () => {
    const { begun, start, at } = operations()
    const shared = new Coalesce<string, string>()
    const leaving = new AbortController()
    const left = shared.run('a', { start }, leaving.signal)
    await turn()
    leaving.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    expect(shared.isRunning('a')).toBe(false)
    const next = shared.run('a', { start })
    await turn()
    expect(begun).toHaveLength(1)
    at(0).fail(new Error('cleaned up'))
    await turn()
    expect(begun).toHaveLength(2)
    at(1).finish('done')
    expect(await next).toBe('done')
  })

  it('should not begin anything for a caller that has already left', async () => {
    const { begun, start } = operations()
    const shared = new Coalesce<string, string>()
    await expect(shared.run('a', { start }, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
    expect(begun).toHaveLength(0)
  })

  it('should report that everything has settled only after the clean-up', async () => {
    const { start, at } = operations()
    const shared = new Coalesce<string, string>()
    const leaving = new AbortController()
    const left = shared.run('a', { start }, leaving.signal)
    await turn()
    leaving.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    let settled = false
    const waiting = shared.settled().then(() => {
      settled = true
    })
    await turn()
    expect(settled).toBe(false)
    at(0).fail(new Error('cleaned up'))
    await waiting
    expect(settled).toBe(true)
  })
})
