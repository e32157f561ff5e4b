import { FRAME_HEADER_BYTES, MAX_ARGUMENTS_BYTES, MAX_FRAME_BYTES } from '@loopatd/protocol'
import { CHANNEL, encodeFrame } from '@loopatd/protocol/frame'

/**
 * What a loop asks of the host. The first frame of a connection, on the control channel, holds fields that are parted by
 * NUL: `run`, the version `1`, the caller's directory inside, the size of its terminal as `COLSxROWS` or nothing,
 * variables as `NAME=VALUE`, an empty field, and the words of the command. The caller sends nothing more until it is told
 * that the command runs. Everything in it is hostile.
 */
export interface HostRequest {
  /** The caller's directory, as its kernel named it. */
  readonly cwd: Buffer
  readonly size: { readonly cols: number; readonly rows: number } | undefined
  /** Of {@link CALLER_VARIABLES}, those that are set to something acceptable. */
  readonly env: Readonly<Record<string, string>>
  /** Name and arguments; at least the name. */
  readonly argv: readonly Buffer[]
}

/** What a command may know of its caller, and what each may look like. */
const CALLER_VARIABLES: Readonly<Record<string, RegExp>> = {
  COLUMNS: /^[1-9]\d{0,3}$/,
  LINES: /^[1-9]\d{0,3}$/,
  NO_COLOR: /^[!-~]{0,64}$/,
  TERM: /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/,
}
/** Longest path of a directory, in bytes; the kernel's own bound. */
const MAX_CWD_BYTES = 4096
/** Most fields of a request: no kernel takes many more arguments, and each costs the daemon more than its bytes. */
const MAX_FIELDS = 65_536
/** Names of commands: no path, and no option. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,254}$/

/** What is sent to a caller whose command does not run: what a person should read, and the code to exit with. */
export function refusal(text: string, code: number): Buffer {
  return Buffer.concat([
    encodeFrame(CHANNEL.stderr, Buffer.from(`loopat-host: ${text}\n`)),
    encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify({ type: 'exit', code }))),
  ])
}

/** Text for the person before the terminal, while the command waits. */
export function notice(text: string): Buffer {
  return encodeFrame(CHANNEL.stderr, Buffer.from(`loopat-host: ${text}\n`))
}

/** Reports whether a command has a name that anything could be granted by. */
export function isCommandName(word: Buffer): boolean {
  return NAME.test(word.toString('latin1'))
}

/**
 * Collects the first frame of a connection, and nothing that comes behind it. Each byte is copied once: a caller that
 * sends them one by one costs no more than others.
 */
export class RequestReader {
  #frame: Buffer = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES)
  #bytes = 0
  #hasHeader = false

  /**
   * Takes bytes as they come.
   * @returns the payload and what came behind it, once the frame is whole
   * @throws RangeError for what is no such frame
   */
  push(chunk: Buffer): { readonly payload: Buffer; readonly head: Buffer } | undefined {
    let rest = this.#fill(chunk)
    if (this.#bytes < this.#frame.length) return undefined
    if (!this.#hasHeader) {
      this.#hasHeader = true
      const header = this.#frame
      this.#frame = Buffer.allocUnsafeSlow(endOf(header))
      header.copy(this.#frame)
      rest = this.#fill(rest)
    }
    if (this.#bytes < this.#frame.length) return undefined
    return { payload: this.#frame.subarray(FRAME_HEADER_BYTES), head: rest }
  }

  /** @returns what is behind it */
  #fill(chunk: Buffer): Buffer {
    const taken = chunk.copy(this.#frame, this.#bytes)
    this.#bytes += taken
    return chunk.subarray(taken)
  }
}

/** @throws RangeError */
function endOf(header: Buffer): number {
  if (header[0] !== CHANNEL.control) throw new RangeError('it does not begin with a request')
  const length = header.readUInt32BE(1)
  if (length === 0 || length > MAX_FRAME_BYTES) {
    throw new RangeError(`its request has ${length} bytes; at most ${MAX_FRAME_BYTES} are allowed`)
  }
  return FRAME_HEADER_BYTES + length
}

/** Reads a request. @throws RangeError that says what is wrong with it */
export function parseRequest(payload: Buffer): HostRequest {
  const fields = split(payload)
  const [verb, version, cwd, size] = fields
  if (verb?.toString('latin1') !== 'run' || cwd === undefined || size === undefined) {
    throw new RangeError('it is no request to run a command')
  }
  if (version?.toString('latin1') !== '1') throw new RangeError('it speaks another version of the protocol')
  if (cwd.length === 0 || cwd.length > MAX_CWD_BYTES) throw new RangeError('it names no directory')
  const empty = fields.findIndex((field, index) => index >= 4 && field.length === 0)
  if (empty < 0) throw new RangeError('it names no command')
  const argv = fields.slice(empty + 1)
  if (argv.length === 0) throw new RangeError('it names no command')
  if (argv.reduce((bytes, word) => bytes + word.length + 1, 0) > MAX_ARGUMENTS_BYTES) {
    throw new RangeError(`its arguments have more than ${MAX_ARGUMENTS_BYTES} bytes`)
  }
  return { cwd, size: parseSize(size.toString('latin1')), env: parseEnv(fields.slice(4, empty)), argv }
}

/** @throws RangeError */
function split(payload: Buffer): Buffer[] {
  const fields: Buffer[] = []
  for (let from = 0; ; ) {
    const end = payload.indexOf(0, from)
    if (end < 0) return [...fields, payload.subarray(from)]
    fields.push(payload.subarray(from, end))
    if (fields.length === MAX_FIELDS) throw new RangeError(`it has more than ${MAX_FIELDS} fields`)
    from = end + 1
  }
}

/** @throws RangeError */
function parseSize(text: string): HostRequest['size'] {
  if (text === '') return undefined
  const [, cols, rows] = /^([1-9]\d{0,3})x([1-9]\d{0,3})$/.exec(text) ?? []
  if (cols === undefined || rows === undefined) throw new RangeError('it names no size of a terminal')
  return { cols: Number(cols), rows: Number(rows) }
}

/** Whatever is not wanted is left out: the caller does not choose what a command of the host believes. */
function parseEnv(fields: readonly Buffer[]): Record<string, string> {
  const env: Record<string, string> = {}
  for (const field of fields) {
    const text = field.toString('latin1')
    const name = text.slice(0, Math.max(0, text.indexOf('=')))
    const value = text.slice(name.length + 1)
    if (Object.hasOwn(CALLER_VARIABLES, name) && CALLER_VARIABLES[name]?.test(value) === true) env[name] = value
  }
  return env
}
