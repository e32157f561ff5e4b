/** The one place where anything that was thrown becomes an error on the wire. */
import { ERRORS, type ErrorData, LoopatError } from '@loopatd/protocol'
import { EngineError } from '../engine/engine.ts'
import type { Logger } from '../log.ts'

/** A JSON-RPC error object of the contract. */
export interface WireError {
  readonly code: number
  readonly message: string
  readonly data: ErrorData
}

/** What is known about the request that failed. */
export interface FailedRequest {
  readonly method: string
  /** Aborted, with the reason, when the request was given up. */
  readonly signal: AbortSignal
  readonly log: Logger
}

/** Codes of the file system that tell about the disk or its permissions, not about a defect of ours. */
const STORAGE_CODES: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'the disk quota is used up',
  ENOSPC: 'the disk is full',
  EPERM: 'the operation is not permitted',
  EROFS: 'the file system is read-only',
}

/** Writes a catalogue error as the wire has it; its cause stays here. */
export function toWire(error: LoopatError): WireError {
  const { code, message, next, details } = error
  return {
    code: ERRORS[code].number,
    message,
    data: { name: code, ...(next === undefined ? {} : { next }), ...(details === undefined ? {} : { details }) },
  }
}

/** Maps anything thrown while a request was handled to a catalogue error. What has no place in it is a defect: logged, not told. */
export function toCatalogue(error: unknown, { method, signal, log }: FailedRequest): LoopatError {
  if (error instanceof LoopatError) return error
  // Work that is given up fails in many ways; the reason says it best.
  if (signal.aborted && (isAbortError(error) || error instanceof EngineError)) return cancelled(signal.reason, method)
  if (isAbortError(error)) return cancelled(error, method)
  if (error instanceof EngineError) return fromEngine(error)
  const storage = storageReason(error)
  if (storage !== undefined) {
    log.error({ err: error, method }, 'the workspace cannot be written')
    return new LoopatError('storage_failed', `${method}: the workspace cannot be written: ${storage}`, {
      next: 'Make room or mend the permissions, then try again; `loopctl daemon logs` names the file.',
      cause: error,
    })
  }
  log.error({ err: error, method }, 'a request failed unexpectedly')
  return new LoopatError('internal', `${method} failed unexpectedly; this is a defect of loopatd`, {
    next: 'See `loopctl daemon logs` for the details.',
    cause: error,
  })
}

function cancelled(reason: unknown, method: string): LoopatError {
  if (reason instanceof LoopatError) return reason
  return new LoopatError('cancelled', `${method} was cancelled`, { cause: reason })
}

function fromEngine(error: EngineError): LoopatError {
  const { message } = error
  switch (error.kind) {
    case 'unavailable':
      return new LoopatError('engine_unavailable', message, {
        next: '`loopctl doctor` shows what podman lacks on this host.',
        cause: error,
      })
    case 'connection_lost':
      return new LoopatError('connection_lost', message, {
        next: 'Look at the state of the loop before you try again.',
        cause: error,
      })
    case 'storage_full':
      return new LoopatError('storage_failed', message, { next: 'Make room on the disk of podman.', cause: error })
    case 'image_unavailable':
      return new LoopatError('image_unavailable', message, { cause: error })
    case 'build_failed':
      return new LoopatError('image_build_failed', message, { cause: error })
    default:
      return new LoopatError('engine_failed', message, { cause: error })
  }
}

function isAbortError(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

function storageReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return undefined
  return typeof error.code === 'string' ? STORAGE_CODES[error.code] : undefined
}
