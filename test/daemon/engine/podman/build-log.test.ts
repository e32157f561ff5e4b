import { describe, expect, it } from 'vitest'
import { BuildLog } from '../../../../daemon/engine/podman/build-log.ts'

describe('BuildLog', () => {
  it('should tell steps, bases and the id', () => {
    const log = new BuildLog('localhost/x:1')
    expect(log.take({ stream: 'STEP 1/3: FROM localhost/base:1 AS one\n' })).toEqual({
      message: 'FROM localhost/base:1 AS one',
      step: 1,
      total: 3,
    })
    expect(log.take({ stream: '\n' })).toBeUndefined()
    expect(log.take({ stream: 'some output\n' })).toEqual({ message: 'some output' })
    log.take({ stream: 'STEP 2/3: FROM --platform=linux/amd64 localhost/other:1\n' })
    log.take({ aux: { ID: 'sha256:abc' } })
    expect(log.bases).toEqual(new Set(['localhost/base:1', 'localhost/other:1']))
    expect(log.finish()).toBe('abc')
  })

  it('should fail by an error inside the answer, with the last lines', () => {
    const log = new BuildLog('localhost/x:1')
    for (let line = 0; line < 100; line += 1) log.take({ stream: `line ${line}\n` })
    const failure = expect.objectContaining({
      kind: 'build_failed',
      message: expect.stringMatching(/localhost\/x:1.*line 99\nexit status 1$/s),
    })
    expect(() => log.take({ error: 'exit status 1\n', errorDetail: { message: 'exit status 1\n' } })).toThrow(failure)
    expect(() => log.take({ errorDetail: { message: 'alone' } })).toThrow(/alone/)
  })

  it('should not take silence for success', () => {
    const log = new BuildLog('localhost/x:1')
    log.take({ stream: 'Successfully tagged localhost/x:1\n' })
    expect(() => log.finish()).toThrow(expect.objectContaining({ kind: 'connection_lost' }))
  })
})
