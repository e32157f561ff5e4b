import { describe, expect, it } from 'vitest'
import { EngineError, type EngineErrorKind } from '../../../daemon/engine/engine.ts'
import { commandError } from '../../../daemon/exec/command-error.ts'

describe('commandError', () => {
  const command = { loop: 'L', command: ['prog', 'x'], cwd: '/no/such' }

  it.each<[EngineErrorKind, string, string]>([
    ['command_not_found', 'exec_not_found', '"prog" was not found'],
    ['not_executable', 'exec_not_executable', '"prog" cannot be executed in /no/such'],
    ['directory_unusable', 'exec_not_executable', '/no/such is no directory'],
    ['wrong_state', 'loop_not_running', '"L" stopped'],
    ['not_found', 'loop_not_running', '"L" stopped'],
  ])('should tell what %s means for whoever asked, and what to do', (kind, code, words) => {
    expect(commandError(new EngineError(kind, 'words of the engine'), command)).toMatchObject({
      code,
      message: expect.stringContaining(words),
      next: expect.any(String),
    })
  })

  it('should leave everything else as it is', () => {
    for (const error of [new EngineError('connection_lost', 'x'), new Error('x'), 'x']) {
      expect(commandError(error, command)).toBe(error)
    }
  })
})
