import { describe, expect, it } from 'vitest'
import { exitCodeOf, signalExitCode, UsageError } from '../../../client/cli/exit.ts'
import { ERRORS, type ErrorName, EXIT, LoopatError } from '../../../protocol/error.ts'

describe('exit codes', () => {
  it.each(Object.keys(ERRORS) as ErrorName[])('should be that of the catalogue for %s', (name) => {
    expect(exitCodeOf(new LoopatError(name, 'x'), 'ls')).toBe(EXIT[ERRORS[name].exit].code)
  })

  it.each([
    ['loop_not_found', 125],
    ['daemon_unreachable', 125],
    ['invalid_params', 125],
    ['engine_failed', 125],
    ['exec_not_executable', 126],
    ['exec_not_found', 127],
    ['cancelled', 130],
  ] as const)('should tell failures of exec and shell from those of the command: %s is %i', (name, code) => {
    for (const command of ['exec', 'job wait', 'shell'])
      expect(exitCodeOf(new LoopatError(name, 'x'), command)).toBe(code)
  })

  it('should be 2 for bad arguments, and 125 where 2 could be the command', () => {
    expect(exitCodeOf(new UsageError('x'), 'ls')).toBe(2)
    expect(exitCodeOf(new UsageError('x'), 'exec')).toBe(125)
  })

  it('should be 1 for anything unforeseen', () => {
    expect(exitCodeOf(new TypeError('x'), 'ls')).toBe(1)
    expect(exitCodeOf('x', 'exec')).toBe(125)
  })

  it('should be that of SIGPIPE when nobody reads the output', () => {
    expect(exitCodeOf(Object.assign(new Error('write'), { code: 'EPIPE' }), 'exec')).toBe(141)
  })

  it('should be 128 plus the number of a signal', () => {
    expect([signalExitCode('SIGHUP'), signalExitCode('SIGINT'), signalExitCode('SIGTERM')]).toEqual([129, 130, 143])
  })
})
