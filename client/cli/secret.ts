import { StringDecoder } from 'node:string_decoder'
import type { Context } from './context.ts'
import { InterruptedError, UsageError } from './exit.ts'
import { printable } from './text.ts'

/** What keys send in a raw terminal. */
const KEY = {
  interrupt: '\x03',
  endOfFile: '\x04',
  backspace: '\b',
  delete: '\x7f',
  enter: '\r',
  line: '\n',
  kill: '\x15',
}

/**
 * Reads all of stdin.
 * @param maxBytes what is more is refused
 * @throws UsageError
 */
export async function readInput({ stdin, signal }: Context, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  const stop = () => void stdin.destroy(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    for await (const chunk of stdin as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) throw new UsageError(`stdin has more than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
  } finally {
    signal.removeEventListener('abort', stop)
  }
  return Buffer.concat(chunks)
}

/**
 * Asks for one line on the terminal and shows nothing of what is typed. The terminal is given back on every way out.
 * @param question without the colon
 * @throws UsageError when nothing, or more than one line, is given; InterruptedError
 */
export async function askSecret(context: Context, question: string): Promise<string> {
  const { stdin, stderr, signal } = context
  signal.throwIfAborted()
  // In this order: nothing that is typed early is shown either.
  const forget = context.atExit(() => context.setRawMode(false))
  context.setRawMode(true)
  stderr.write(`${printable(question)}: `)
  const line = new SecretLine()
  const listening = new AbortController()
  try {
    await new Promise<void>((resolve, reject) => {
      const take = (chunk: Buffer) => {
        try {
          if (line.take(chunk)) resolve()
        } catch (error) {
          reject(error)
        }
      }
      stdin.on('data', take)
      stdin.once('end', resolve)
      signal.addEventListener('abort', () => reject(signal.reason), { signal: listening.signal })
      listening.signal.addEventListener('abort', () => stdin.off('data', take).off('end', resolve).pause())
    })
  } finally {
    listening.abort()
    context.setRawMode(false)
    forget()
    stderr.write('\n')
  }
  if (line.text === '') throw new UsageError('no value was given')
  return line.text
}

/** A line that is being typed. */
class SecretLine {
  readonly #decoder = new StringDecoder('utf8')
  #characters: string[] = []

  get text(): string {
    return this.#characters.join('')
  }

  /** @returns whether the line is complete */
  take(chunk: Buffer): boolean {
    const keys = [...this.#decoder.write(chunk)]
    for (const [index, key] of keys.entries()) {
      if (key === KEY.interrupt) throw new InterruptedError('SIGINT')
      if (key === KEY.endOfFile) return true
      if (key === KEY.enter || key === KEY.line) return isLast(keys, index)
      if (key === KEY.kill) this.#characters = []
      else if (key === KEY.backspace || key === KEY.delete) this.#characters.pop()
      else this.#characters.push(key)
    }
    return false
  }
}

/** What was pasted behind the first line must not be lost without a word, or reach the shell. */
function isLast(keys: readonly string[], index: number): true {
  const rest = keys.slice(index + 1).filter((key) => key !== KEY.enter && key !== KEY.line)
  if (rest.length === 0) return true
  throw new UsageError('only one line can be given here', 'Give a value of more lines on stdin.')
}
