/** Signals that end a program unless it does something else with them. */
export const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const
export type Signal = (typeof SIGNALS)[number]

/** Where signals come from: `process`. */
export interface SignalSource {
  on(signal: Signal, listener: (signal: Signal) => void): unknown
  off(signal: Signal, listener: (signal: Signal) => void): unknown
}

/**
 * Hands every signal to one listener: the last that asked for them. So a command that passes signals on takes them
 * from the one that would end the program, and gives them back.
 */
export class Signals implements Disposable {
  readonly #source: SignalSource
  readonly #listeners: ((signal: Signal) => void)[] = []
  readonly #deliver = (signal: Signal) => this.#listeners.at(-1)?.(signal)

  constructor(source: SignalSource) {
    this.#source = source
    for (const signal of SIGNALS) source.on(signal, this.#deliver)
  }

  /** Takes all signals from now on. @returns gives them back; once only */
  take(listener: (signal: Signal) => void): () => void {
    this.#listeners.push(listener)
    return () => {
      const index = this.#listeners.indexOf(listener)
      if (index >= 0) this.#listeners.splice(index, 1)
    }
  }

  /** Leaves signals to the system's defaults again. */
  [Symbol.dispose](): void {
    for (const signal of SIGNALS) this.#source.off(signal, this.#deliver)
  }
}
