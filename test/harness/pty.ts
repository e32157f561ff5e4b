import { type IPty, spawn } from '@lydell/node-pty'

/** What is expected is no longer, in characters. */
const LONGEST = 4096

/** How much of the output an error shows, in characters. */
const SHOWN = 8192

/** A program on a terminal of its own. */
export class TestTerminal {
  readonly #pty: IPty
  readonly #exited: Promise<number>
  #output = ''
  /** What came after what was expected last. */
  #fresh = ''
  #wake: () => void = () => undefined

  /** Starts a shell script on a terminal of 80 by 24. */
  constructor(script: string, env: Readonly<Record<string, string>>) {
    this.#pty = spawn('/bin/sh', ['-c', script], { cols: 80, rows: 24, env: { ...env, TERM: 'xterm' } })
    this.#pty.onData((text) => {
      this.#output += text
      this.#fresh += text
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
   * @throws Error with the end of the output when that takes longer than 30 seconds
   */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = setTimeout(() => this.#wake(), 30_000)
    const limit = performance.now() + 30_000
    try {
      for (;;) {
        const match = pattern.exec(this.#fresh)
        if (match !== null) {
          this.#fresh = this.#fresh.slice(match.index + match[0].length)
          return match
        }
        // Megabytes come in small pieces: none of them is looked at over and over.
        this.#fresh = this.#fresh.slice(-LONGEST)
        if (performance.now() >= limit)
          throw new Error(`${pattern} never came; this did: ${JSON.stringify(this.#output.slice(-SHOWN))}`)
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
