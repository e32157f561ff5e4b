import type { Socket } from 'node:net'
import { AbstractMessageWriter, type Message, type MessageWriter } from 'vscode-jsonrpc/node'

/** Where a writer writes to, and what it does when that does not work. */
export interface BoundedWriterOptions {
  readonly socket: Socket
  readonly maxQueuedBytes: number
  readonly maxQueuedMessages: number
  /** The client does not read: its queue is full. */
  readonly onOverflow: () => void
  /** Makes a message that can be written in place of one that cannot. */
  readonly replace: (message: Message, error: unknown) => object
  /** A message was taken into the queue. */
  readonly onWritten: (message: Message) => void
}

/** Writes a message as the wire has it. */
export function encodeMessage(message: object): Buffer {
  const body = Buffer.from(JSON.stringify(message))
  return Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`, 'latin1'), body])
}

/**
 * Writes messages to a client and counts what it has not read. A message is taken whole, whatever its size, as long as
 * what waits before it is within the limits.
 */
export class BoundedWriter extends AbstractMessageWriter implements MessageWriter {
  readonly #options: BoundedWriterOptions
  #queuedBytes = 0
  #queuedMessages = 0

  constructor(options: BoundedWriterOptions) {
    super()
    this.#options = options
  }

  /** Bytes that the client has not taken. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** Resolves when the message has left, or when nobody is there to read it any more. */
  write(message: Message): Promise<void> {
    const { socket, maxQueuedBytes, maxQueuedMessages, onOverflow, onWritten } = this.#options
    onWritten(message)
    if (!socket.writable) return Promise.resolve()
    if (this.#queuedBytes > maxQueuedBytes || this.#queuedMessages >= maxQueuedMessages) {
      onOverflow()
      return Promise.resolve()
    }
    const bytes = this.#encode(message)
    this.#queuedBytes += bytes.length
    this.#queuedMessages += 1
    return new Promise((resolve) => {
      socket.write(bytes, () => {
        this.#queuedBytes -= bytes.length
        this.#queuedMessages -= 1
        resolve()
      })
    })
  }

  end(): void {
    this.#options.socket.end()
  }

  #encode(message: Message): Buffer {
    try {
      return encodeMessage(message)
    } catch (error) {
      return encodeMessage(this.#options.replace(message, error))
    }
  }
}
