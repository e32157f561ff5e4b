/** What one client, and all of them together, may use of the daemon. */
export interface ServerLimits {
  /** Open connections, raw streams included. */
  readonly maxConnections: number
  /** Largest body of a message from a client, in bytes. */
  readonly maxMessageBytes: number
  /** Requests in flight per connection; more are answered with `too_many_requests`. */
  readonly maxInFlight: number
  /** Bytes queued for a client that does not read; the next message beyond it ends the connection. */
  readonly maxQueuedBytes: number
  /** Messages queued for a client that does not read. */
  readonly maxQueuedMessages: number
  /** Subscriptions per connection. */
  readonly maxSubscriptions: number
  /** Raw streams per connection, not yet connected ones included. */
  readonly maxStreams: number
  /** Milliseconds until a new connection must have sent its first bytes. */
  readonly firstBytesMs: number
  /** Milliseconds until a message that has begun must be complete. */
  readonly frameMs: number
}

/** What a daemon allows unless configured otherwise. */
export const DEFAULT_LIMITS: ServerLimits = {
  maxConnections: 256,
  maxMessageBytes: 8_388_608,
  maxInFlight: 64,
  maxQueuedBytes: 16_777_216,
  maxQueuedMessages: 4096,
  maxSubscriptions: 32,
  maxStreams: 64,
  firstBytesMs: 10_000,
  frameMs: 10_000,
}
