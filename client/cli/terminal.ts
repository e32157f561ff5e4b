import type { Readable } from 'node:stream'
import type { Context } from './context.ts'

/** Programs inside switch these on; a terminal that is left behind with them is no longer usable. */
const RESET = [
  '\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l', // mouse reports
  '\x1b[?2004l', // bracketed paste
  '\x1b[?1l\x1b>', // application keys
  '\x1b[?25h', // cursor
  '\x1b[0m', // colours
].join('')
const ENTER_SCREEN = '\x1b[?1049h'
const LEAVE_SCREEN = '\x1b[?1049l'

/** Size of a terminal, in character cells. */
export interface Size {
  readonly cols: number
  readonly rows: number
}

/** The user's terminal while it belongs to a program in a loop: raw, and given back on every way out. */
export class Terminal {
  readonly #context: Context
  readonly #forget: () => void
  #raw = false
  #alternate = false
  #tail = ''

  constructor(context: Context) {
    this.#context = context
    this.#forget = context.atExit(() => this.restore({ clean: false }))
  }

  /** Size of the terminal; that of the oldest terminals when stdout is none. */
  get size(): Size {
    const { columns, rows } = this.#context.stdout
    return { cols: clamp(columns ?? 80), rows: clamp(rows ?? 24) }
  }

  /** Calls the listener whenever the size changes. @returns stops that */
  onResize(listener: (size: Size) => void): () => void {
    const onResize = () => listener(this.size)
    this.#context.stdout.on('resize', onResize)
    return () => {
      this.#context.stdout.off('resize', onResize)
    }
  }

  /** Hands every key to the program inside, and follows what it does to the screen. */
  enter(output: Readable): void {
    this.#context.setRawMode(true)
    this.#raw = true
    output.on('data', (chunk: Buffer) => this.#watch(chunk))
  }

  /** Gives the terminal to whoever has it while this program is stopped. */
  lend(): void {
    if (this.#raw) this.#context.setRawMode(false)
  }

  takeBack(): void {
    if (this.#raw) this.#context.setRawMode(true)
  }

  /**
   * Gives the terminal back as it was. Idempotent.
   * @param clean whether the program inside ended by itself; otherwise what it switched on is switched off for it
   */
  restore({ clean }: { readonly clean: boolean }): void {
    if (!this.#raw) return
    this.#raw = false
    this.#forget()
    this.#context.setRawMode(false)
    if (clean || this.#context.stdout.isTTY !== true) return
    this.#context.stdout.write(`${RESET}${this.#alternate ? LEAVE_SCREEN : ''}\r\n`)
  }

  /** Leaving an alternate screen that was never entered would move the cursor, so it has to be known. */
  #watch(chunk: Buffer): void {
    const text = this.#tail + chunk.toString('latin1')
    const entered = text.lastIndexOf(ENTER_SCREEN)
    const left = text.lastIndexOf(LEAVE_SCREEN)
    if (entered !== left) this.#alternate = entered > left
    this.#tail = text.slice(-(ENTER_SCREEN.length - 1))
  }
}

function clamp(cells: number): number {
  return Math.min(4096, Math.max(1, cells))
}
