import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { exactPattern, quoteWord } from './argv-pattern.ts'
import { CODE, HostRefusal } from './host-refusal.ts'
import { type HostRequest, isCommandName, parseRequest, RequestReader, refusal } from './host-request.ts'
import { MAX_CHARACTERS, told } from './logged-text.ts'

/** Milliseconds that a caller may take to say what it wants. */
const REQUEST_MS = 10_000
/** Bytes that a caller may send before it is told that its command runs; it should send none. */
const MAX_EARLY_BYTES = 65_536
/** Milliseconds that a caller may take to read why its command does not run. */
const LINGER_MS = 2_000

/** One caller: its socket until that is given to who runs the command. */
export class HostCaller {
  /** Names the call in the log. */
  readonly session = randomBytes(6).toString('hex')
  /** Aborts when the caller is gone, or is to be. */
  readonly gone: AbortSignal
  readonly #over = new AbortController()
  readonly #socket: Socket
  /** Made when the first byte comes early. */
  #early: Buffer | undefined
  #earlyBytes = 0
  #isHandedOver = false

  constructor(socket: Socket) {
    this.#socket = socket
    this.gone = this.#over.signal
    socket.on('error', () => undefined)
    socket.once('end', () => this.#over.abort())
    socket.once('close', () => {
      if (!this.#isHandedOver) this.#over.abort()
    })
  }

  /** Ends the wait of the caller, whatever it waits for. */
  end(): void {
    this.#over.abort()
  }

  /** Reads what the caller wants. @throws HostRefusal */
  async request(): Promise<HostRequest> {
    const reader = new RequestReader()
    const { payload, head } = await new Promise<{ payload: Buffer; head: Buffer }>((resolve, reject) => {
      const refuse = (why: string): void => {
        settle()
        reject(new HostRefusal(`this is no request: ${why}`, { code: CODE.unavailable }))
      }
      const timer = setTimeout(() => refuse(`it is not whole after ${REQUEST_MS / 1000} s`), REQUEST_MS)
      const onGone = () => refuse('the caller went away in the middle of it')
      const settle = (): void => {
        clearTimeout(timer)
        this.gone.removeEventListener('abort', onGone)
        this.#socket.off('data', take)
      }
      const take = (chunk: Buffer): void => {
        try {
          const found = reader.push(chunk)
          if (found === undefined) return
          settle()
          resolve(found)
        } catch (error) {
          if (!(error instanceof RangeError)) throw error
          refuse(error.message)
        }
      }
      if (this.gone.aborted) {
        onGone()
        return
      }
      this.gone.addEventListener('abort', onGone, { once: true })
      this.#socket.on('data', take)
    })
    this.#keep(head)
    this.#socket.on('data', (chunk) => this.#keep(chunk))
    try {
      return parseRequest(payload)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new HostRefusal(`this is no request: ${error.message}`, { code: CODE.unavailable })
    }
  }

  /** Lets the person at the other end read something while the command waits. */
  tell(bytes: Buffer): void {
    if (!this.gone.aborted) this.#socket.write(bytes)
  }

  /** Says why the command does not run, and hangs up. Does nothing once the socket is somebody else's. */
  refuse({ message, code }: HostRefusal): void {
    if (this.#isHandedOver || this.#socket.destroyed) return
    const timer = setTimeout(() => this.#socket.destroy(), LINGER_MS)
    this.#socket.once('close', () => clearTimeout(timer))
    this.#socket.end(refusal(message, code))
    this.#socket.resume()
  }

  /** Gives the socket away. @returns it, paused, and what was read behind the request */
  handOver(): { readonly socket: Socket; readonly head: Buffer } {
    this.#isHandedOver = true
    this.#socket.removeAllListeners('data')
    this.#socket.removeAllListeners('end')
    this.#socket.pause()
    const head = this.#early?.subarray(0, this.#earlyBytes) ?? Buffer.alloc(0)
    this.#early = undefined
    return { socket: this.#socket, head }
  }

  /** Each byte is copied: a caller that sends them one by one costs no more than others. */
  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#early ??= Buffer.allocUnsafeSlow(MAX_EARLY_BYTES)
    const taken = bytes.copy(this.#early, this.#earlyBytes)
    this.#earlyBytes += taken
    if (taken < bytes.length) this.#socket.destroy()
  }
}

/** Checks that a request names a command by its plain name. @throws HostRefusal */
export function checkName({ argv }: HostRequest): void {
  const [name = Buffer.alloc(0)] = argv
  if (isCommandName(name)) return
  throw new HostRefusal(`${told([name])} is no name of a command: commands of the host have no path`, {
    code: CODE.denied,
    rule: 'not a plain name',
  })
}

/**
 * What the caller of a command that nothing allows reads.
 * @param loop name of the loop
 */
export function notGranted(argv: readonly Buffer[], loop: string): HostRefusal {
  const pattern = exactPattern(argv)
  const grant =
    pattern === undefined || pattern.length > MAX_CHARACTERS
      ? `--ask ${loop} ${quoteWord(`${quoteWord(argv[0]?.toString('latin1') ?? '')} *`)}`
      : `${loop} ${quoteWord(pattern)}`
  const text = `this loop may not run on the host: ${told(argv)}`
  return new HostRefusal(`${text}\n  Its user can allow it there: loopctl host grant ${grant}`, {
    code: CODE.denied,
    rule: 'no grant matches',
  })
}
