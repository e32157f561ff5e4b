import { LoopatError } from '@loopatd/protocol'
import { isEngineError } from '../engine/engine.ts'

/** What was to be run, in the words of whoever asked for it. */
export interface RefusedCommand {
  readonly loop: string
  readonly command: readonly string[]
  readonly cwd?: string | undefined
}

/**
 * What a client is told when a command could not be run.
 * @returns a LoopatError for what an engine says of a command, anything else as it is
 */
export function commandError(error: unknown, { loop, command, cwd }: RefusedCommand): unknown {
  const program = command[0] ?? ''
  if (isEngineError(error, 'command_not_found')) {
    const next = `Look for it: loopctl exec ${loop} -- sh -c 'command -v NAME; echo "$PATH"'`
    return new LoopatError('exec_not_found', `"${program}" was not found in the loop`, { next, cause: error })
  }
  if (isEngineError(error, 'directory_unusable')) {
    const directory = cwd ?? 'its workdir'
    return new LoopatError(
      'exec_not_executable',
      `"${program}" cannot be executed: ${directory} is no directory there`,
      {
        next: 'Name a directory that is in the loop, or make this one first.',
        cause: error,
      },
    )
  }
  if (isEngineError(error, 'not_executable')) {
    return new LoopatError('exec_not_executable', `"${program}" cannot be executed in ${cwd ?? 'the workdir'}`, {
      next: 'Check its mode, its interpreter and the working directory.',
      cause: error,
    })
  }
  if (isEngineError(error, 'wrong_state', 'not_found')) {
    return new LoopatError('loop_not_running', `loop "${loop}" stopped before the command began`, {
      next: `Run: loopctl start ${loop}`,
      cause: error,
    })
  }
  return error
}
