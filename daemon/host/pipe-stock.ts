import { closeSync, constants, openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeFifos, openFifo } from '../lib/fifo.ts'

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Pipes that are made at once, and how many there should be at least. */
const STOCK = { made: 40, low: 12 } as const

/** A pipe from a command. */
export interface OutputPipe {
  readonly ours: Socket
  /** The descriptor that the command gets. */
  readonly theirs: number
}

/**
 * Pipes for outputs, made ahead. What Node.js itself puts between processes are sockets, and a program cannot open those
 * by name: `echo oops >/dev/stderr` fails there. It cannot make pipes either; so named ones are made, and lose their names
 * at once. Input stays a socket: who opens a named pipe whose writer is through waits for ever.
 */
export class PipeStock {
  /** Open both ways. */
  readonly #pipes: number[] = []
  #making: Promise<void> | undefined

  /** Makes pipes unless there are enough. @throws an error of the system */
  async fill(): Promise<void> {
    if (this.#pipes.length >= STOCK.low) return
    this.#making ??= this.#make().finally(() => {
      this.#making = undefined
    })
    await this.#making
  }

  /** Two pipes, for stdout and stderr. @throws an error of the system */
  async take(): Promise<readonly [OutputPipe, OutputPipe]> {
    while (this.#pipes.length < 2) await this.fill()
    const pipes = [this.#one(), this.#one()] as const
    // In time for others; who needs them by then is told what is wrong.
    this.fill().catch(() => undefined)
    return pipes
  }

  #one(): OutputPipe {
    const both = this.#pipes.shift()
    if (both === undefined) throw new Error('no pipe is left')
    try {
      const path = `/proc/self/fd/${both}`
      const theirs = openSync(path, O_WRONLY)
      return {
        ours: new Socket({ fd: openSync(path, O_RDONLY | O_NONBLOCK), readable: true, writable: false }),
        theirs,
      }
    } finally {
      closeSync(both)
    }
  }

  async #make(): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'loopat-pipes-'))
    try {
      const paths = Array.from({ length: STOCK.made }, (_, index) => join(directory, String(index)))
      await makeFifos(paths)
      for (const path of paths) this.#pipes.push(...[openFifo(path, 'hold')].filter((fd) => fd !== undefined))
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
}
