import { type ErrorName, LoopatError } from '@loopatd/protocol'
import { type EngineErrorKind, isEngineError } from '../engine/engine.ts'

/** Where a call to the engine belongs. */
export interface EngineCall {
  /** The failed operation, as a verb with its object: `start loop "x"`. */
  readonly doing: string
  /** Error for a refusal that has no name of its own. */
  readonly refusal: 'engine_failed' | 'start_failed'
}

const NAMES: Partial<Record<EngineErrorKind, ErrorName>> = {
  connection_lost: 'connection_lost',
  image_unavailable: 'image_unavailable',
  limit_unsupported: 'limit_unsupported',
  name_taken: 'name_taken',
  storage_full: 'storage_failed',
  unavailable: 'engine_unavailable',
}

const NEXT: Partial<Record<ErrorName, string>> = {
  connection_lost: 'Run the command again; repeating it does no harm.',
  engine_failed: 'Run: loopctl doctor',
  engine_unavailable: 'Run: loopctl doctor',
  image_unavailable: 'Check the name of the image and that its registry can be reached.',
  limit_unsupported: 'Leave the limit out, or let your user have that controller: loopctl doctor',
  name_taken: 'Rename or remove what has the name in podman.',
  start_failed: 'Run: loopctl doctor',
  storage_failed: 'Free some disk space and try again.',
}

/** Makes a catalogue error of what the engine threw; everything else is returned as it is. */
export function toLoopError(error: unknown, { doing, refusal }: EngineCall): unknown {
  if (!isEngineError(error)) return error
  const name = NAMES[error.kind] ?? refusal
  const next = NEXT[name]
  return new LoopatError(name, `cannot ${doing}: ${error.message}`, {
    ...(next === undefined ? {} : { next }),
    cause: error,
  })
}

/** Runs calls to the engine and translates their errors. */
export async function callEngine<T>(call: EngineCall, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toLoopError(error, call)
  }
}

/** One line about any error, for logs and for the `reason` of a loop. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
