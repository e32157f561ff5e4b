import { type ErrorName, isLoopatError, LoopatError } from '@loopatd/protocol'
import { type EngineErrorKind, isEngineError } from '../engine/engine.ts'

const NAMES: Partial<Record<EngineErrorKind, ErrorName>> = {
  build_failed: 'image_build_failed',
  connection_lost: 'connection_lost',
  image_unavailable: 'image_unavailable',
  storage_full: 'storage_failed',
  unavailable: 'engine_unavailable',
}

const NEXT: Partial<Record<ErrorName, string>> = {
  connection_lost: 'Try again; `loopctl image status` shows whether the image is there.',
  engine_unavailable: 'Run `loopctl doctor`.',
  image_build_failed: 'Mend what the last lines say (often the network) and run `loopctl image build`.',
  image_unavailable:
    'Check the name of the image (of the loop, or `image.base` and `image.name` in config.toml), and that its registry can be reached.',
  storage_failed: 'Free some disk space and run `loopctl image build`.',
}

/**
 * Makes a catalogue error of what the engine threw; catalogue errors and everything unknown (the reason of an abort, a
 * defect) are returned as they are.
 * @param doing what failed, as the beginning of a sentence: `Building localhost/…`
 */
export function toImageError(error: unknown, doing: string): unknown {
  if (isLoopatError(error) || !isEngineError(error)) return error
  const name = NAMES[error.kind] ?? 'engine_failed'
  const next = NEXT[name]
  return new LoopatError(name, `${doing} failed: ${error.message}`, {
    ...(next === undefined ? {} : { next }),
    cause: error,
  })
}
