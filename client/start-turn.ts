import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

/**
 * The turn of one client among those that find no daemon at the same time: whoever has it starts one, the others wait
 * for that. A lock on a file that ends with its holder, however that ends.
 */
export class StartTurn {
  readonly #file: number
  readonly #abort = new AbortController()
  #isMine = false
  /** Resolves when {@link isMine} becomes true. */
  readonly taken: Promise<void>

  /**
   * Asks for it. Without util-linux's flock everybody has it.
   * @param path a file that is there; its content is left alone
   * @throws the file system's error
   */
  constructor(path: string) {
    this.#file = openSync(path, 'r')
    const helper = spawn('flock', ['--exclusive', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', this.#file],
      signal: this.#abort.signal,
    })
    helper.unref()
    this.taken = new Promise((resolve) => {
      const settle = () => {
        this.#isMine = !this.#abort.signal.aborted
        resolve()
      }
      helper.once('error', settle)
      helper.once('exit', settle)
    })
  }

  /** Whether it is this client's now, until it leaves. */
  get isMine(): boolean {
    return this.#isMine
  }

  /** Gives it to the next. */
  leave(): void {
    this.#abort.abort()
    closeSync(this.#file)
  }
}
