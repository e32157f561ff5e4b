import { write } from 'node:fs'
import { Writable } from 'node:stream'
import { promisify } from 'node:util'
import type { Display } from './context.ts'

const writeTo = promisify(write)

/** Where output goes that may be long. */
export interface PatientOutputs {
  readonly stdout: Writable
  readonly stderr: Writable
}

/**
 * The outputs of this program, of which no terminal holds it up. Node.js writes to terminals in one go and waits as long as
 * they take nothing, after Ctrl-S or when a network is slow: meanwhile nothing else would be done, answers to the daemon
 * included.
 */
export function patientOutputs({
  stdout,
  stderr,
}: {
  readonly stdout: Display
  readonly stderr: Display
}): PatientOutputs {
  const turns = new Turns()
  return {
    stdout: stdout.isTTY === true ? new TerminalOutput(1, turns) : stdout,
    stderr: stderr.isTTY === true ? new TerminalOutput(2, turns) : stderr,
  }
}

/** Both outputs may lead to one terminal: what came first is written first. */
class Turns {
  #last: Promise<void> = Promise.resolve()

  take(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

class TerminalOutput extends Writable {
  readonly #descriptor: number
  readonly #turns: Turns

  constructor(descriptor: number, turns: Turns) {
    super()
    this.#descriptor = descriptor
    this.#turns = turns
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#turns.take(() => this.#writeAll(chunk)).then(() => done(), done)
  }

  async #writeAll(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; ) at += (await writeTo(this.#descriptor, chunk, at)).bytesWritten
  }
}
