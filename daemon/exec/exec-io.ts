import type { Readable, Writable } from 'node:stream'
import type { ExecControl } from '@loopatd/protocol'

/**
 * The client's side of a streamed command, whatever transport carries it. All three streams apply back-pressure.
 * Losing the transport destroys them, which is how the command learns that nobody listens any more.
 */
export interface ExecIo {
  /** What the client sends; ends when the client ends it. */
  readonly stdin: Readable
  /** Ended by the command's owner when there is no more output. */
  readonly stdout: Writable
  readonly stderr: Writable
  /** Calls the listener for each control message, checked. @returns stops listening */
  onControl(listener: (message: ExecControl) => void): () => void
  /** Flushes what was written and closes the transport. Idempotent. */
  close(): Promise<void>
}
