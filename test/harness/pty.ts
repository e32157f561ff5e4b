import { type IPty, spawn } from '@lydell/node-pty'

/** A program on a terminal of its own. */
export class TestTerminal {
  readonly #pty: IPty
  readonly #exited: Promise<number>
  #output = ''
  #seen = 0
  #wake: () => void = () => undefined

  /** Starts a shell script on a terminal of 80 by 24. */
  constructor(script: string, env: Readonly<Record<string, string>>) {
    this.#pty = spawn('/bin/sh', ['-c', script], { cols: 80, rows: 24, env: { ...env, TERM: 'xterm' } })
    this.#pty.onData((text) => {
      this.#output += text
      this.#wake()
    })
    this.#exited = new Promise((resolve) => this.#pty.onExit(({ exitCode }) => resolve(exitCode)))
  }

  /** Everything that was written to the terminal. */
  get output(): string {
    return this.#output
  }

  /** Exit code of the script. */
  get exited(): Promise<number> {
    return this.#exited
  }

  /** Types. */
  type(text: string): void {
    this.#pty.write(text)
  }

  /** Takes no output any more, as after Ctrl-S, until it does again. */
  hold(isHeld: boolean): void {
    if (isHeld) this.#pty.pause()
    else this.#pty.resume()
  }

  /** Changes the size of the terminal. */
  resize(cols: number, rows: number): void {
    this.#pty.resize(cols, rows)
  }

  /**
   * Waits until the output goes on with something, after what was expected before.
   * @throws Error with all output when that takes longer than 30 seconds
   */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = setTimeout(() => this.#wake(), 30_000)
    const limit = performance.now() + 30_000
    try {
      for (;;) {
        const match = pattern.exec(this.#output.slice(this.#seen))
        if (match !== null) {
          this.#seen += match.index + match[0].length
          return match
        }
        if (performance.now() >= limit)
          throw new Error(`${pattern} never came; this did: ${JSON.stringify(this.#output)}`)
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    } finally {
      clearTimeout(deadline)
    }
  }

  /** Ends it, if it still runs. */
  kill(): void {
    this.#pty.kill('SIGKILL')
  }
}
