/** Turns what comes over the wire, or happens to the connection, into catalogue errors. */
import { isErrorName, LoopatError } from '@loopatd/protocol/error'

/** Errors that vscode-jsonrpc itself rejects pending requests with: the message could not be written, or the connection went away. */
const CONNECTION_CODES: ReadonlySet<unknown> = new Set([-32099, -32097, -32096])

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The catalogue error of a JSON-RPC error object. A daemon of another version may send names that this client does not
 * know: they become `internal`, with the original name in the details.
 * @param wire `code`, `message` and `data` as they came
 */
export function fromWire(wire: {
  readonly code: unknown
  readonly message: string
  readonly data?: unknown
}): LoopatError {
  const data = isRecord(wire.data) ? wire.data : {}
  const next = typeof data.next === 'string' ? { next: data.next } : {}
  const details = isRecord(data.details) ? { details: data.details } : {}
  if (isErrorName(data.name)) return new LoopatError(data.name, wire.message, { ...next, ...details })
  const unknown = { wireName: data.name ?? null, wireCode: wire.code }
  return new LoopatError('internal', wire.message, { ...next, details: { ...details.details, ...unknown } })
}

/** Reports whether a rejected request failed because of the connection and not by an answer of the daemon. */
export function isConnectionFailure(error: { readonly code: unknown }): boolean {
  return CONNECTION_CODES.has(error.code)
}

/** The error of requests whose connection went away before they were answered. */
export function connectionLost(cause?: unknown): LoopatError {
  return new LoopatError('daemon_unreachable', 'the connection to the daemon was lost before it answered', {
    next: 'Try again; `loopctl daemon logs` shows what the daemon did last.',
    cause,
  })
}
