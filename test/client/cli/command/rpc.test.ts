import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

describe('loopctl rpc', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
    stub.on('any/method', (params) => ({ params }))
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  it.each([
    [['any/method'], '', {}],
    [['any/method', '{"a":[1]}'], '', { a: [1] }],
    [['any/method', '-'], '{"b":2}\n', { b: 2 }],
  ])('should call any method: %j', async (argv, input, params) => {
    const { code, stdout } = await new TestHost({ socket: stub.socket, input }).run('rpc', ...argv)
    expect({ code, value: JSON.parse(stdout) as unknown }).toEqual({ code: 0, value: { params } })
  })

  it('should print the contract', async () => {
    stub.on('rpc.discover', () => ({ openrpc: '1.3.2' }))
    const { stdout } = await new TestHost({ socket: stub.socket }).run('rpc', '--discover')
    expect(JSON.parse(stdout)).toEqual({ openrpc: '1.3.2' })
  })

  it.each([
    [[], 'name a method'],
    [['a', '--discover'], 'name a method'],
    [['a', '{'], 'not JSON'],
    [['a', '[1]'], 'must be a JSON object'],
    [['a', 'null'], 'must be a JSON object'],
  ])('should refuse %j', async (argv, reason) => {
    const { code, stderr } = await new TestHost({ socket: stub.socket }).run('rpc', ...argv)
    expect(code).toBe(2)
    expect(stderr).toContain(reason)
  })

  it('should say which method there is not', async () => {
    const { code, stderr } = await new TestHost({ socket: stub.socket }).run('rpc', 'no/method')
    expect(code).toBe(2)
    expect(stderr).toContain('no/method')
  })
})
