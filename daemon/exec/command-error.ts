import type { CheckedParamsOf } from '@loopatd/protocol'
import { LoopatError } from '@loopatd/protocol'
import { isEngineError } from '../engine/engine.ts'

/**
 * What a client is told when a command could not be run.
 * @returns a LoopatError for what an engine says of a command, anything else as it is
 */
export function commandError(
  error: unknown,
  params: Pick<CheckedParamsOf<'exec/run'>, 'command' | 'cwd' | 'loop'>,
): unknown {
  const program = params.command[0] ?? ''
  if (isEngineError(error, 'command_not_found')) {
    return new LoopatError('exec_not_found', `"${program}" was not found in the loop`, { cause: error })
  }
  if (isEngineError(error, 'not_executable')) {
    return new LoopatError('exec_not_executable', `"${program}" cannot be executed in ${params.cwd ?? 'the workdir'}`, {
      next: 'Check its mode, its interpreter and the working directory.',
      cause: error,
    })
  }
  if (isEngineError(error, 'wrong_state', 'not_found')) {
    return new LoopatError('loop_not_running', `loop "${params.loop}" stopped before the command began`, {
      next: `Run: loopctl start ${params.loop}`,
      cause: error,
    })
  }
  return error
}
