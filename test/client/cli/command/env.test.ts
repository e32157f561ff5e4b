import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

describe('loopctl env', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  const run = (...words: string[]) => new TestHost({ socket: stub.socket }).run('env', ...words)
  const params = () => stub.calls.at(-1)?.params

  it('should list variables, one to a line', async () => {
    stub.on('env/list', () => ({ env: { A: '1', B: 'two\nlines' } }))
    expect(await run('ls', 'x')).toEqual({ code: 0, stdout: 'A=1\nB=two\\x0alines\n', stderr: '' })
    expect(JSON.parse((await run('ls', 'x', '--json')).stdout)).toEqual({ A: '1', B: 'two\nlines' })
  })

  it('should set variables, also to nothing and with "=" in them', async () => {
    stub.on('env/set', () => ({ env: {} }))
    expect(await run('set', 'x', 'A=', 'B=b=c', 'C=d e')).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(params()).toEqual({ loop: 'x', env: { A: '', B: 'b=c', C: 'd e' } })
  })

  it('should take variables away', async () => {
    stub.on('env/unset', () => ({ env: {} }))
    expect((await run('unset', 'x', 'A', 'B')).code).toBe(0)
    expect(params()).toEqual({ loop: 'x', names: ['A', 'B'] })
  })

  it.each([['A'], ['A-B=1'], ['=1'], ['1A=1']])('should refuse %s', async (word) => {
    expect((await run('set', 'x', word)).code).toBe(2)
    expect(stub.calls).toEqual([])
  })
})
