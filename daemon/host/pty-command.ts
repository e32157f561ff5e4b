import { randomInt } from 'node:crypto'
import { constants, openSync, writeSync } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { type IPty, spawn } from '@lydell/node-pty'
import { deferred } from '../lib/deferred.ts'
import { errorCode } from '../lib/error-code.ts'
import { shellWords } from './command-word.ts'
import { exitCodeOf, type HostProcess } from './host-process.ts'
import type { HostCommand } from './host-run.ts'

const { O_NOCTTY, O_NONBLOCK, O_RDWR } = constants

/** Input that waits for the terminal at most, and how much is written at once, in bytes. */
const INPUT_BYTES = { held: 65_536, atOnce: 4096 } as const
/** Milliseconds until a terminal that takes nothing is tried again. */
const RETRY_MS = 20
/** Digits of the word that is written behind the last output: no setting of a terminal changes digits. */
const LAST_WORD_DIGITS = 40

/** What node-pty's terminals have besides what they say they have. */
type Terminal = IPty & { readonly fd: number; readonly ptsName: string }

/**
 * Starts a command on a terminal. The process that calls this must have no other: what node-pty keeps of a terminal may
 * meet the descriptor of another one.
 * @param cwd path that leads to the directory, from the command's process, too, as long as it runs
 * @throws the system's error
 */
export function startOnTerminal(command: HostCommand, cwd: string): HostProcess {
  const { file, args } = shellWords(command)
  const { cols = 80, rows = 24 } = command.size ?? {}
  const pty = spawn(file, [...args], { cwd, cols, rows, encoding: null, env: { ...command.env } })
  if (!isTerminal(pty)) throw new Error('node-pty has changed')
  return new PtyCommand(pty)
}

/**
 * A command on a terminal.
 *
 * node-pty loses the end of the output: it closes the terminal 200 ms after the command has ended, and as soon as nobody
 * has its other side open. So that side is kept open here, and node-pty is made believe that it closed the terminal
 * before. What is written to that side when the command has ended comes out behind its last output. And node-pty writes
 * input whether or not the terminal takes it, or is still there; so input is written here.
 */
class PtyCommand implements HostProcess {
  readonly pid: number
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: undefined
  readonly exited: Promise<number>
  readonly #pty: Terminal
  readonly #otherSide: number
  readonly #lastWord = Buffer.from(Array.from({ length: LAST_WORD_DIGITS }, () => randomInt(10)).join(''))
  #over = false
  /** The output was ended; who is left on the terminal may go on writing. */
  #shown = false
  /** The part of the last word that still is to be written; all of it before the command has ended. */
  #unsaid = this.#lastWord
  /** Output that may be the beginning of the last word. */
  #held = Buffer.alloc(0)

  constructor(pty: Terminal) {
    this.#pty = pty
    this.pid = pty.pid
    Reflect.set(pty, '_emittedClose', true)
    this.#otherSide = openSync(pty.ptsName, O_RDWR | O_NOCTTY | O_NONBLOCK)
    this.stdout = new Readable({ read: () => pty.resume() })
    this.stdin = new Writable({
      highWaterMark: INPUT_BYTES.held,
      write: (chunk: Buffer, _encoding, done) => this.#type(chunk, done),
    })
    pty.onData((data: unknown) => {
      if (Buffer.isBuffer(data)) this.#show(data)
    })
    const { promise, resolve } = deferred<number>()
    this.exited = promise
    pty.onExit(({ exitCode, signal }) => {
      this.#over = true
      resolve(exitCodeOf(exitCode, signal))
      this.#sayLastWord()
    })
  }

  resize(cols: number, rows: number): void {
    if (!this.#over) this.#pty.resize(cols, rows)
  }

  #type(chunk: Buffer, done: (error?: Error) => void): void {
    if (this.#over) {
      done()
      return
    }
    try {
      const rest = chunk.subarray(writeNow(this.#pty.fd, chunk.subarray(0, INPUT_BYTES.atOnce)))
      if (rest.length === 0) done()
      else setTimeout(() => this.#type(rest, done), rest.length < chunk.length ? 0 : RETRY_MS)
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)))
    }
  }

  /** The terminal may be full, or be stopped by its user; whoever reads the output gives up in the end. */
  #sayLastWord(): void {
    if (this.stdout.destroyed) return
    this.#unsaid = this.#unsaid.subarray(writeNow(this.#otherSide, this.#unsaid))
    if (this.#unsaid.length > 0) setTimeout(() => this.#sayLastWord(), RETRY_MS)
  }

  #show(data: Buffer): void {
    if (this.#shown || this.stdout.destroyed) return
    const bytes = this.#over ? this.#beforeLastWord(data) : data
    if (bytes.length > 0 && !this.stdout.push(bytes)) this.#pty.pause()
  }

  /** What of the output is surely no part of the last word. Ends the output at that word. */
  #beforeLastWord(data: Buffer): Buffer {
    const all = Buffer.concat([this.#held, data])
    const end = all.indexOf(this.#lastWord)
    if (end >= 0) {
      if (end > 0) this.stdout.push(all.subarray(0, end))
      this.stdout.push(null)
      this.#shown = true
      return Buffer.alloc(0)
    }
    const sure = Math.max(0, all.length - this.#lastWord.length + 1)
    this.#held = all.subarray(sure)
    return all.subarray(0, sure)
  }
}

/** Writes without waiting. @returns how many bytes were taken */
function writeNow(fd: number, bytes: Buffer): number {
  try {
    return writeSync(fd, bytes)
  } catch (error) {
    if (errorCode(error) === 'EAGAIN') return 0
    throw error
  }
}

function isTerminal(pty: IPty): pty is Terminal {
  return 'fd' in pty && typeof pty.fd === 'number' && 'ptsName' in pty && typeof pty.ptsName === 'string'
}
